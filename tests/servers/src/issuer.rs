//! An identity provider: keys of its own, tokens signed with them, and its public keys over HTTP. What it signs, and how, is
//! for the test to say: also what a real one never would.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::local;

/// The kinds of keys that an issuer has, one of each: their `kid` is the algorithm's name.
pub const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

/// An issuer.
pub struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    jwks: Mutex<Vec<u8>>,
    asked: AtomicUsize,
}

impl Default for Issuer {
    fn default() -> Self {
        Self::new()
    }
}

impl Issuer {
    /// An issuer with new keys, which publishes all of them.
    ///
    /// # Panics
    /// Where there is no port, or no randomness.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind(local(0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let shared = Arc::new(Shared { jwks: Mutex::default(), asked: AtomicUsize::new(0) });
        let issuer = Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
            ed: Ed25519KeyPair::generate().expect("a key"),
            shared: Arc::clone(&shared),
            port,
        };
        issuer.publish(&issuer.jwks());
        // It ends with the test's process.
        spawn(move || {
            for client in listener.incoming().flatten() {
                // A client that goes away has nothing to be told.
                let _ = shared.answer(client);
            }
        });
        issuer
    }

    /// Its public keys, as a JWKS.
    ///
    /// # Panics
    /// Where a key has no public form.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let [n, e] = modulus_and_exponent(self.rsa.public_key().as_ref());
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        json!({ "keys": [
            { "kid": "RS256", "kty": "RSA", "use": "sig", "alg": "RS256", "n": text(n), "e": text(e) },
            { "kid": "ES256", "kty": "EC", "use": "sig", "alg": "ES256", "crv": "P-256", "x": text(x), "y": text(y) },
            { "kid": "EdDSA", "kty": "OKP", "crv": "Ed25519", "x": text(self.ed.public_key().as_ref()) },
        ] })
    }

    /// Publishes another JWKS.
    ///
    /// # Panics
    /// Where another thread did with it.
    pub fn publish(&self, jwks: &Value) {
        *self.shared.jwks.lock().expect("nobody panics with it") = jwks.to_string().into_bytes();
    }

    /// Where it publishes them.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/jwks.json", local(self.port))
    }

    /// How often it was asked for them.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::Acquire)
    }

    /// A token of these claims, signed with the key of an algorithm, which its header names.
    #[must_use]
    pub fn token(&self, algorithm: &str, claims: &Value) -> String {
        self.sign(algorithm, &json!({ "typ": "JWT", "alg": algorithm, "kid": algorithm }), claims)
    }

    /// A token of any header and claims, signed with the key of an algorithm, or with `HS256:` and a secret, or with
    /// nothing: `none`.
    ///
    /// # Panics
    /// Where there is no such algorithm.
    #[must_use]
    pub fn sign(&self, algorithm: &str, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()));
        let (random, message) = (SystemRandom::new(), signed.as_bytes());
        let signature = match algorithm {
            "RS256" => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("it signs");
                signature
            }
            "ES256" => self.ec.sign(&random, message).expect("it signs").as_ref().to_vec(),
            "EdDSA" => self.ed.sign(message).as_ref().to_vec(),
            "none" => Vec::new(),
            other => {
                let secret = other.strip_prefix("HS256:").expect("an algorithm");
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message).as_ref().to_vec()
            }
        };
        format!("{signed}.{}", text(&signature))
    }
}

impl Shared {
    fn answer(&self, mut client: TcpStream) -> std::io::Result<()> {
        // One read holds a request for a small document.
        let _ = client.read(&mut [0; 8192])?;
        self.asked.fetch_add(1, Ordering::AcqRel);
        let body = self.jwks.lock().expect("nobody panics with it").clone();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        client.write_all(head.as_bytes())?;
        client.write_all(&body)
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// SHA-256 of a text in hexadecimal digits, by another implementation than the product's.
#[must_use]
pub fn sha256(text: &str) -> String {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The two numbers of an RSA public key in DER (RFC 8017, A.1.1).
fn modulus_and_exponent(der: &[u8]) -> [&[u8]; 2] {
    let (sequence, _) = value(der);
    let (modulus, rest) = value(sequence);
    let (exponent, _) = value(rest);
    // A leading zero says that the number is not negative.
    [modulus, exponent].map(|number| number.strip_prefix(&[0]).unwrap_or(number))
}

/// The value of a DER element, and what follows it.
fn value(der: &[u8]) -> (&[u8], &[u8]) {
    let (length, start) = match usize::from(der[1]) {
        short @ ..0x80 => (short, 2),
        long => {
            let digits = &der[2..2 + (long & 0x7f)];
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), 2 + digits.len())
        }
    };
    der[start..].split_at(length)
}
