//! Tokens of an issuer with keys of its own, and what is no token of it.

use linktide_servers::{ALGORITHMS, Issuer};
use serde_json::json;

use super::*;
use crate::access::Scope;

const NOW: i64 = 1_800_000_000;

fn config() -> TokenConfig {
    TokenConfig {
        issuer: "https://id.example".into(),
        audience: vec!["linktide".into(), "other".into()],
        tenant_claim: "tenant_id".into(),
        scope_claim: "scope".into(),
        scopes: [Scope::Read, Scope::Export].into_iter().collect(),
        leeway: Duration::from_secs(30),
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(NOW * 1000).unwrap()
}

fn claims() -> Value {
    json!({ "iss": "https://id.example", "aud": "linktide", "sub": "ada", "exp": NOW + 60, "tenant_id": "7", "scope": "openid read" })
}

fn with(member: &str, value: Value) -> Value {
    let mut claims = claims();
    if value.is_null() {
        drop(claims.as_object_mut().unwrap().remove(member))
    } else {
        claims[member] = value
    }
    claims
}

fn knowing(issuer: &Issuer) -> Tokens {
    let tokens = Tokens::new(config());
    tokens.replace(issuer.jwks().to_string().as_bytes()).unwrap();
    tokens
}

/// Why a token is none.
async fn denied(tokens: &Tokens, token: &str) -> Denied {
    tokens.check(token, now()).await.unwrap_err()
}

#[tokio::test]
async fn token_is_a_caller_by_any_of_the_three_algorithms() {
    let issuer = Issuer::new();
    let tokens = knowing(&issuer);
    for algorithm in ALGORITHMS {
        let caller = tokens.check(&issuer.token(algorithm, &claims()), now()).await.unwrap();
        assert_eq!((caller.tenant, &*caller.id, caller.scopes), (TenantId(7), "ada", Scope::Read.into()));
        assert_eq!((caller.means, caller.link), (Means::Token, None));
        assert_eq!(caller.expires_at.unwrap().as_millis(), (NOW + 90) * 1000, "with the leeway");
    }
    for (scope, expected) in [
        (json!(["read", "export"]), "read,export"),
        (json!("export admin ingest"), "export"),
        (json!("Read reader"), ""),
        (json!(7), ""),
        (json!(null), ""),
    ] {
        let caller = tokens.check(&issuer.token("ES256", &with("scope", scope.clone())), now()).await.unwrap();
        assert_eq!(caller.scopes.to_string(), expected, "{scope}: no more than tokens may give");
    }
    let several = with("aud", json!(["somebody", "other"]));
    assert!(tokens.check(&issuer.token("EdDSA", &several), now()).await.is_ok());
    assert_eq!(
        tokens.check(&issuer.token("EdDSA", &with("tenant_id", json!(8))), now()).await.unwrap().tenant,
        TenantId(8)
    );
}

#[tokio::test]
async fn claim_that_is_wrong_or_missing_is_named() {
    let issuer = Issuer::new();
    let tokens = knowing(&issuer);
    for (claims, why) in [
        (with("iss", json!("https://id.example/")), Denied::Token("its `iss` is another one")),
        (with("iss", json!(null)), Denied::Token("its `iss` is another one")),
        (with("aud", json!("linktid")), Denied::Token("its `aud` is another one")),
        (with("aud", json!([])), Denied::Token("its `aud` is another one")),
        (with("aud", json!(null)), Denied::Token("its `aud` is another one")),
        (with("exp", json!(null)), Denied::Token("it has no `exp`")),
        (with("exp", json!("tomorrow")), Denied::Token("its `exp` or `nbf` is no time")),
        (with("exp", json!(1e300)), Denied::Token("its `exp` or `nbf` is no time")),
        (with("exp", json!(NOW - 30)), Denied::Expired),
        (with("nbf", json!(NOW + 31)), Denied::Token("it is not valid yet")),
        (with("tenant_id", json!(null)), Denied::NoTenant),
        (with("tenant_id", json!(-1)), Denied::NoTenant),
        (with("tenant_id", json!("7 or 8")), Denied::NoTenant),
        (json!([]), Denied::Token("what it claims is no JSON object")),
    ] {
        assert_eq!(denied(&tokens, &issuer.token("ES256", &claims)).await, why, "{claims}");
    }
    // Clocks may differ by the leeway.
    for claims in [with("exp", json!(NOW - 29)), with("nbf", json!(NOW + 30)), with("exp", json!(NOW as f64 + 0.5))] {
        assert!(tokens.check(&issuer.token("ES256", &claims), now()).await.is_ok(), "{claims}");
    }
}

#[tokio::test]
async fn algorithm_is_the_keys_and_never_the_tokens() {
    let issuer = Issuer::new();
    let tokens = knowing(&issuer);
    let other = Denied::Token("its `alg` is not that of the key that it names");
    let public = issuer.jwks()["keys"][0].clone();
    for kid in ALGORITHMS {
        let header = |alg: &str| json!({ "alg": alg, "kid": kid });
        for alg in ["none", "None", "NONE", ""] {
            assert_eq!(denied(&tokens, &issuer.sign("none", &header(alg), &claims())).await, other, "{alg}");
        }
        // What everybody knows, as a secret.
        for secret in [public["n"].as_str().unwrap(), &public.to_string(), &issuer.jwks().to_string(), ""] {
            let token = issuer.sign(&format!("HS256:{secret}"), &header("HS256"), &claims());
            assert_eq!(denied(&tokens, &token).await, other);
            let token = issuer.sign(&format!("HS256:{secret}"), &header(kid), &claims());
            assert_eq!(denied(&tokens, &token).await, Denied::Token("its signature is wrong"));
        }
        for alg in ALGORITHMS.into_iter().filter(|alg| *alg != kid) {
            assert_eq!(denied(&tokens, &issuer.sign(alg, &header(alg), &claims())).await, other, "{kid} {alg}");
            let token = issuer.sign(alg, &header(kid), &claims());
            assert_eq!(denied(&tokens, &token).await, Denied::Token("its signature is wrong"), "{kid} {alg}");
        }
    }
    for alg in ["RS384", "RS512", "PS256", "ES384"] {
        assert_eq!(
            denied(&tokens, &issuer.sign("RS256", &json!({ "alg": alg, "kid": "RS256" }), &claims())).await,
            other
        );
    }
}

#[tokio::test]
async fn text_that_is_no_token_is_none() {
    let issuer = Issuer::new();
    let tokens = knowing(&issuer);
    let token = issuer.token("RS256", &claims());
    let [header, claimed, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let none = Denied::Token("it is no signed JWT");
    for text in
        ["..", "a.b.c", &format!("{header}=.{claimed}.{signature}"), &format!("{header}.{claimed}.{signature}=")]
    {
        assert_eq!(denied(&tokens, text).await, none, "{text}");
    }
    let wrong = Denied::Token("its signature is wrong");
    assert_eq!(denied(&tokens, &format!("{header}.{claimed}.")).await, wrong);
    assert_eq!(denied(&tokens, &format!("{header}.{}.{signature}", &claimed[..claimed.len() - 4])).await, wrong);
    let stranger = Issuer::new().token("RS256", &claims());
    assert_eq!(denied(&tokens, &stranger).await, wrong, "another issuer's key of the same name");
    let critical = json!({ "alg": "RS256", "kid": "RS256", "crit": ["b64"], "b64": false });
    assert!(
        matches!(denied(&tokens, &issuer.sign("RS256", &critical, &claims())).await, Denied::Token(why) if why.contains("crit"))
    );
    let nameless = json!({ "alg": "RS256" });
    assert!(
        matches!(denied(&tokens, &issuer.sign("RS256", &nameless, &claims())).await, Denied::Token(why) if why.contains("kid"))
    );
    // One key needs no name.
    let mut single = issuer.jwks();
    single["keys"].as_array_mut().unwrap().truncate(1);
    tokens.replace(single.to_string().as_bytes()).unwrap();
    assert!(tokens.check(&issuer.sign("RS256", &nameless, &claims()), now()).await.is_ok());
}

#[tokio::test]
async fn unknown_key_asks_for_a_fetch_at_most_once_a_while() {
    let (issuer, newer) = (Issuer::new(), Issuer::new());
    let tokens = Arc::new(knowing(&issuer));
    let mut renamed = newer.jwks();
    renamed["keys"][1]["kid"] = json!("next");
    let token = newer.sign("ES256", &json!({ "alg": "ES256", "kid": "next" }), &claims());
    let fetcher = {
        let (tokens, renamed) = (Arc::clone(&tokens), renamed.to_string());
        tokio::spawn(async move {
            tokens.wanted().await;
            tokens.replace(renamed.as_bytes()).unwrap();
        })
    };
    assert!(tokens.check(&token, now()).await.is_ok(), "the request that met the new key waited for it");
    fetcher.await.unwrap();
    let unknown = newer.sign("ES256", &json!({ "alg": "ES256", "kid": "made up" }), &claims());
    let begun = tokio::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(denied(&tokens, &unknown).await, Denied::UnknownTokenKey);
    }
    assert!(begun.elapsed() < PATIENCE, "none of them waits");
    assert!(tokio::time::timeout(Duration::ZERO, tokens.wanted()).await.is_err(), "and none asks");
    let later = now().plus_millis(AGAIN_MS);
    let asked = tokio::spawn({
        let tokens = Arc::clone(&tokens);
        async move { tokens.check(&unknown, later).await }
    });
    tokens.wanted().await;
    tokens.not_fetched();
    assert_eq!(asked.await.unwrap(), Err(Denied::UnknownTokenKey));
}

#[tokio::test]
async fn keys_that_cannot_be_read_leave_those_before() {
    let issuer = Issuer::new();
    let tokens = Tokens::new(config());
    assert_eq!(denied(&tokens, &issuer.token("RS256", &claims())).await, Denied::NotKnownYet);
    tokens.replace(issuer.jwks().to_string().as_bytes()).unwrap();
    let secret = json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }, { "kty": "RSA" }, 7] });
    assert_eq!(tokens.replace(secret.to_string().as_bytes()), Err(JwksError::NoKey));
    assert!(matches!(tokens.replace(b"<html>"), Err(JwksError::Malformed(_))));
    assert!(tokens.check(&issuer.token("RS256", &claims()), now()).await.is_ok());
}
