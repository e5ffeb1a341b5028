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
