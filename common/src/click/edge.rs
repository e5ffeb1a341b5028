//! Signals that an edge signs: who has not the secret can neither make nor change them, nor use old ones again for long.
//!
//! A token is `v1.<time>.<signals>.<signature>`: seconds since 1970 in decimal; the JSON object `signals` in unpadded
//! base64url (RFC 4648 §5); and, in lower-case hexadecimal, HMAC-SHA-256 (RFC 2104) with the shared secret over all
//! before the last dot. It goes in the header `Linktide-Signals`, or in a click's field `edge_signals`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Click, Edge, Signals};
use crate::bucket::Timestamp;
use crate::metrics;
use crate::secret::Secret;

/// The header that carries a token.
pub const HEADER: &str = "linktide-signals";
const VERSION: &str = "v1";

/// Who believes what an edge signs, and for how long.
#[derive(Debug, Clone)]
pub struct EdgeKey {
    secret: Secret,
    fresh: Duration,
}

impl EdgeKey {
    /// A token counts for `fresh` in either direction: clocks of edges run ahead, too.
    #[must_use]
    pub fn new(secret: Secret, fresh: Duration) -> Self {
        Self { secret, fresh }
    }

    /// A token, as an edge makes it.
    #[must_use]
    pub fn sign(&self, signals: &Signals, at: Timestamp) -> String {
        let signals = serde_json::to_vec(signals).expect("writing to memory does not fail");
        let said = format!("{VERSION}.{}.{}", at.as_millis().div_euclid(1000), URL_SAFE_NO_PAD.encode(signals));
        let signature: String =
            self.mac(&said).finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{said}.{signature}")
    }

    /// What a token signs, if it is the edge's and fresh.
    ///
    /// # Errors
    /// [`Edge::Forged`] or [`Edge::Expired`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Signals, Edge> {
        let (said, signature) = token.rsplit_once('.').ok_or(Edge::Forged)?;
        let signature = unhex(signature).ok_or(Edge::Forged)?;
        // Compares in constant time.
        self.mac(said).verify_slice(&signature).map_err(|_| Edge::Forged)?;
        let mut parts = said.splitn(3, '.');
        let mut part = || parts.next().ok_or(Edge::Forged);
        let (version, at, signals) = (part()?, part()?, part()?);
        let at = at.parse::<i64>().ok().and_then(|at| at.checked_mul(1000)).and_then(Timestamp::from_millis);
        let (VERSION, Some(at)) = (version, at) else { return Err(Edge::Forged) };
        let fresh = i64::try_from(self.fresh.as_millis()).unwrap_or(i64::MAX);
        if now.millis_since(at).saturating_abs() > fresh {
            return Err(Edge::Expired);
        }
        let signals = URL_SAFE_NO_PAD.decode(signals).ok().and_then(|json| String::from_utf8(json).ok());
        signals.and_then(|json| Signals::parse(&json).ok()).ok_or(Edge::Forged)
    }

    fn mac(&self, said: &str) -> Hmac<Sha256> {
        let mac = Hmac::new_from_slice(self.secret.expose()).expect("HMAC takes a key of any length");
        mac.chain_update(said)
    }
}

/// Exchanges a click's token for what it signs. Without a key nobody's signature is known, and the token says nothing.
pub fn resolve(click: &mut Click, key: Option<&EdgeKey>, now: Timestamp) {
    let (Some(token), Some(key)) = (click.edge_signals.take(), key) else { return };
    let signals = click.signals.get_or_insert_default();
    let edge = match key.verify(&token, now) {
        Ok(signed) => {
            signals.take_over(signed);
            Edge::Signed
        }
        Err(edge) => edge,
    };
    signals.edge = Some(edge);
    metrics::EDGE_SIGNALS.with_label_values(&[edge.name()]).inc();
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| (digit as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::Day;

    fn key(secret: &[u8]) -> EdgeKey {
        EdgeKey::new(Secret::new(secret.to_vec()), Duration::from_secs(60))
    }

    fn signals() -> Signals {
        Signals { bot_score: Some(7), ja4: Some("t13d1516h2_8daaf6152771_b186095e22b6".into()), ..Signals::default() }
    }

    #[test]
    fn token_is_the_documented_one() {
        // As `openssl dgst -sha256 -hmac secret` signs it.
        let token = key(b"secret").sign(&Signals { bot_score: Some(7), ..Signals::default() }, Day(20_000).start());
        assert_eq!(
            token,
            "v1.1728000000.eyJib3Rfc2NvcmUiOjd9.449df2fad168859f1e2aac4caa857c2e27a800970335dc1787551337ca2828ea"
        );
    }

    #[test]
    fn only_the_edge_makes_tokens_and_they_age() {
        let (edge, now) = (key(b"secret"), Day(20_000).start());
        let token = edge.sign(&signals(), now);
        assert_eq!(edge.verify(&token, now), Ok(signals()));
        assert_eq!(edge.verify(&token, now.plus_millis(60_000)), Ok(signals()));
        for ms in [60_001, -60_001] {
            assert_eq!(edge.verify(&token, now.plus_millis(ms)), Err(Edge::Expired));
        }
        assert_eq!(key(b"other").verify(&token, now), Err(Edge::Forged));
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(edge.verify(&changed, now), Err(Edge::Forged), "{changed}");
        }
        for broken in ["", ".", "v1", "v1.1.x.é", &token[..token.len() - 1]] {
            assert_eq!(edge.verify(broken, now), Err(Edge::Forged), "{broken}");
        }
    }

    #[test]
    fn what_is_not_the_edges_is_ignored_and_told() {
        let (edge, now) = (key(b"secret"), Day(20_000).start());
        let resolved = |token: String, key: Option<&EdgeKey>| {
            let json = format!("{{\"link_id\":1,\"edge_signals\":\"{token}\",\"signals\":{{\"bot_score\":90}}}}");
            let mut click = Click::parse(json.as_bytes()).unwrap();
            resolve(&mut click, key, now);
            assert!(click.edge_signals.is_none());
            let signals = click.signals.unwrap();
            (signals.edge, signals.bot_score)
        };
        assert_eq!(resolved(edge.sign(&signals(), now), Some(&edge)), (Some(Edge::Signed), Some(7)));
        assert_eq!(resolved(key(b"other").sign(&signals(), now), Some(&edge)), (Some(Edge::Forged), Some(90)));
        let old = edge.sign(&signals(), now.plus_millis(-3_600_000));
        assert_eq!(resolved(old, Some(&edge)), (Some(Edge::Expired), Some(90)));
        assert_eq!(resolved("x".into(), None), (None, Some(90)));
    }
}
