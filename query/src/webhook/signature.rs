//! Secrets of webhooks, and what is signed with them, as the Standard Webhooks specification has it
//! (<https://www.standardwebhooks.com>): `v1,` and the base64 of HMAC-SHA256 over `<id>.<seconds>.<body>`.
//!
//! A secret is made from the service's own key and the webhook's id, so that none is stored: whoever reads the lake can forge
//! nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use linktide_common::id::TenantId;
use linktide_common::secret::Secret;
use sha2::Sha256;
use uuid::Uuid;

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// The secret of a webhook.
pub(super) fn secret(key: &Secret, tenant: TenantId, id: Uuid) -> Secret {
    Secret::new(mac(key.expose(), &[b"linktide webhook 1", &tenant.0.to_be_bytes(), id.as_bytes()]))
}

/// A secret as its receiver is told it, once.
pub(super) fn shown(secret: &Secret) -> String {
    format!("whsec_{}", STANDARD.encode(secret.expose()))
}

/// What `webhook-signature` says.
pub(super) fn sign(secret: &Secret, id: &str, seconds: i64, body: &str) -> String {
    let mac = mac(secret.expose(), &[id.as_bytes(), b".", seconds.to_string().as_bytes(), b".", body.as_bytes()]);
    format!("v1,{}", STANDARD.encode(mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_that_of_the_specification() {
        // The example of the specification's own libraries.
        let secret = Secret::new(STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap());
        let signed = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn every_webhook_has_a_secret_of_its_own_and_always_the_same() {
        let (key, id) = (Secret::new(vec![7; 32]), Uuid::from_u128(1));
        let one = shown(&secret(&key, TenantId(0), id));
        assert_eq!(one, shown(&secret(&key, TenantId(0), id)));
        assert!(one.starts_with("whsec_") && one.len() == 6 + 44);
        for other in [
            secret(&key, TenantId(1), id),
            secret(&key, TenantId(0), Uuid::from_u128(2)),
            secret(&Secret::new(vec![8; 32]), TenantId(0), id),
        ] {
            assert_ne!(one, shown(&other));
        }
    }
}
