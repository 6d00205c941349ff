//! Keys that tokens are checked with, each bound to its algorithms.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

/// A key. It cannot check a token of any algorithm but its own, so that no public key is ever taken
/// for a shared secret.
pub(super) struct Key {
    /// The `kid` of its tokens; one without is tried for all that name no other key.
    pub(super) id: Option<Box<str>>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
}

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The most keys of one set.
const MAX_KEYS: usize = 100;

impl Key {
    /// A shared secret.
    pub(super) fn shared(id: Option<&str>, algorithm: Algorithm, secret: &[u8]) -> Self {
        Self {
            id: id.map(Box::from),
            algorithms: vec![algorithm],
            decoding: DecodingKey::from_secret(secret),
        }
    }

    /// A public key in PEM; without an algorithm, one for those that its kind has.
    pub(super) fn from_pem(
        id: Option<&str>,
        algorithm: Option<Algorithm>,
        pem: &str,
    ) -> Result<Self, String> {
        if pem.contains("PRIVATE KEY") {
            return Err(
                "it is a private key; give the public one, and keep this where tokens are signed"
                    .to_owned(),
            );
        }
        let pem = pem.as_bytes();
        let kinds = [
            (DecodingKey::from_rsa_pem(pem), RSA.to_vec()),
            (
                DecodingKey::from_ec_pem(pem),
                vec![Algorithm::ES256, Algorithm::ES384],
            ),
            (DecodingKey::from_ed_pem(pem), vec![Algorithm::EdDSA]),
        ];
        let found = kinds
            .into_iter()
            .find_map(|(key, algorithms)| Some((key.ok()?, algorithms)));
        let Some((decoding, algorithms)) = found else {
            return Err("it is no public key in PEM (RSA, P-256, P-384 or Ed25519)".to_owned());
        };
        let algorithms = match algorithm {
            None => algorithms,
            Some(one) if algorithms.contains(&one) => vec![one],
            Some(other) => return Err(format!("it is no key for {other:?}")),
        };
        let id = id.map(Box::from);
        Ok(Self {
            id,
            algorithms,
            decoding,
        })
    }

    /// The keys of a JWK set (RFC 7517) that tokens can be checked with. Of what is not known here
    /// the rest is taken: a provider may have keys for others, too. `secrets` says whether shared
    /// secrets may be among them.
    pub(super) fn from_set(text: &str, secrets: bool) -> Result<Vec<Self>, String> {
        #[derive(serde::Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set =
            serde_json::from_str(text).map_err(|error| format!("it is no JWK set: {error}"))?;
        if set.keys.len() > MAX_KEYS {
            return Err(format!(
                "it has {} keys; {MAX_KEYS} are allowed",
                set.keys.len()
            ));
        }
        let known = set.keys.into_iter();
        let known = known.filter_map(|key| serde_json::from_value(key).ok());
        let set = JwkSet {
            keys: known.collect(),
        };
        let keys: Vec<_> = set
            .keys
            .iter()
            .filter_map(|jwk| Self::from_jwk(jwk, secrets))
            .collect();
        if keys.is_empty() {
            return Err("it has no key that tokens can be checked with".to_owned());
        }
        Ok(keys)
    }

    fn from_jwk(jwk: &Jwk, secrets: bool) -> Option<Self> {
        let may_sign = matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        );
        let of_its_kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => RSA.to_vec(),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(_) => vec![Algorithm::EdDSA],
            AlgorithmParameters::OctetKey(_) if secrets => {
                vec![Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]
            }
            _ => return None,
        };
        let algorithms = match jwk.common.key_algorithm {
            None => of_its_kind,
            Some(named) => {
                let named = named.to_string().parse().ok()?;
                of_its_kind
                    .into_iter()
                    .filter(|one| *one == named)
                    .collect()
            }
        };
        let usable = may_sign && !algorithms.is_empty();
        let decoding = usable.then(|| DecodingKey::from_jwk(jwk).ok()).flatten()?;
        Some(Self {
            id: jwk.common.key_id.as_deref().map(Box::from),
            algorithms,
            decoding,
        })
    }
}
