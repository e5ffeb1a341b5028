//! Signed tokens: the compact form of a JWS (RFC 7515), and the public keys (RFC 7517, RFC 7518) that one is checked with.
//!
//! Three algorithms and no more, each for one kind of key: so the key decides, and a token has nothing to choose.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A token that has been taken apart; nothing of it is known to be true.
pub(super) struct Jws<'a> {
    pub(super) kid: Option<String>,
    alg: String,
    claims: &'a str,
    signed: &'a str,
    signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Fields that must be understood: none is.
    crit: Option<Value>,
}

/// A key that signatures are checked with.
pub(super) struct VerifyingKey {
    pub(super) kid: Option<String>,
    key: Key,
}

enum Key {
    Rs256(RsaPublicKeyComponents<Vec<u8>>),
    /// An uncompressed point.
    Es256(Vec<u8>),
    EdDsa(Vec<u8>),
}

/// A key of a JWKS, of whatever kind.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    pub(super) fn parse(token: &'a str) -> Result<Self, &'static str> {
        const NONE: &str = "it is no signed JWT";
        let (signed, signature) = token.rsplit_once('.').ok_or(NONE)?;
        let (header, claims) = signed.split_once('.').ok_or(NONE)?;
        let header: Header = bytes(header).and_then(|json| serde_json::from_slice(&json).ok()).ok_or(NONE)?;
        if header.crit.is_some() {
            return Err("its header has a `crit`, and nothing of that is understood");
        }
        let signature = bytes(signature).ok_or(NONE)?;
        Ok(Self { kid: header.kid, alg: header.alg, claims, signed, signature })
    }

    /// What it claims, where a key has signed it.
    pub(super) fn claims(&self, key: &VerifyingKey) -> Result<Map<String, Value>, &'static str> {
        if self.alg != key.key.algorithm() {
            return Err("its `alg` is not that of the key that it names");
        }
        if !key.key.has_signed(self.signed.as_bytes(), &self.signature) {
            return Err("its signature is wrong");
        }
        bytes(self.claims).and_then(|json| serde_json::from_slice(&json).ok()).ok_or("what it claims is no JSON object")
    }
}

impl VerifyingKey {
    /// The key that a member of a JWKS is; none where it is for something else.
    pub(super) fn parse(jwk: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(jwk).ok()?;
        let key = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Key::Rs256(RsaPublicKeyComponents { n: bytes(&jwk.n?)?, e: bytes(&jwk.e?)? }),
            ("EC", Some("P-256")) => {
                let (x, y) = (coordinate(&jwk.x?)?, coordinate(&jwk.y?)?);
                Key::Es256([&[4], x.as_slice(), &y].concat())
            }
            ("OKP", Some("Ed25519")) => Key::EdDsa(coordinate(&jwk.x?)?),
            _ => return None,
        };
        let signs = jwk.usage.is_none_or(|usage| usage == "sig");
        let same = jwk.alg.is_none_or(|alg| alg == key.algorithm());
        (signs && same).then_some(Self { kid: jwk.kid, key })
    }
}

impl Key {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let checked = match self {
            // Keys of fewer than 2048 bits sign nothing.
            Self::Rs256(key) => key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature),
            Self::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Self::EdDsa(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
        };
        checked.is_ok()
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn coordinate(text: &str) -> Option<Vec<u8>> {
    bytes(text).filter(|bytes| bytes.len() == 32)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7515, A.2 and A.3: the same claims, signed by both.
    const CLAIMS: &str =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const RS256: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
    const ES256: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn rsa() -> Value {
        json!({ "kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ" })
    }

    fn ec() -> Value {
        json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" })
    }

    #[test]
    fn examples_of_the_standards_are_right() {
        for (header, signature, jwk) in [("eyJhbGciOiJSUzI1NiJ9", RS256, rsa()), ("eyJhbGciOiJFUzI1NiJ9", ES256, ec())]
        {
            let token = format!("{header}.{CLAIMS}.{signature}");
            let key = VerifyingKey::parse(jwk).unwrap();
            assert_eq!(Jws::parse(&token).unwrap().claims(&key).unwrap()["iss"], "joe");
            let other = format!("{header}.{}.{signature}", CLAIMS.replace("eyJ", "eyK"));
            assert_eq!(Jws::parse(&other).unwrap().claims(&key), Err("its signature is wrong"));
        }
        // RFC 8037, A.4: what it signs is a sentence.
        let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let claims = Jws::parse(token).unwrap().claims(&VerifyingKey::parse(key).unwrap());
        assert_eq!(claims, Err("what it claims is no JSON object"), "the signature is right");
    }

    #[test]
    fn key_for_something_else_is_none() {
        for (member, value) in [("use", "enc"), ("alg", "RS512"), ("alg", "HS256"), ("kty", "oct"), ("n", "?")] {
            let mut jwk = rsa();
            jwk[member] = value.into();
            assert!(VerifyingKey::parse(jwk).is_none(), "{member} {value}");
        }
        for (member, value) in [("crv", "P-384"), ("x", "AAAA")] {
            let mut jwk = ec();
            jwk[member] = value.into();
            assert!(VerifyingKey::parse(jwk).is_none(), "{member} {value}");
        }
        assert!(VerifyingKey::parse(json!({ "kty": "oct", "k": "c2VjcmV0" })).is_none());
    }
}
