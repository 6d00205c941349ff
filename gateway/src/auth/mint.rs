//! Signing tokens for development: what an application's backend does, by the key of the
//! configuration.

use fanfare_shared::config::{Auth, Secret};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::Value;

/// A key that signs.
pub struct Signer {
    header: Header,
    key: EncodingKey,
}

impl Signer {
    /// The first shared secret of a configuration.
    ///
    /// # Errors
    ///
    /// If there is none, says what else would do.
    pub fn of(auth: &Auth) -> Result<Self, String> {
        let named = auth.keys.iter().filter_map(|key| {
            let secret = key.secret.as_ref()?;
            let algorithm = key.algorithm.parse().ok()?;
            Some((secret, algorithm, key.kid.clone()))
        });
        let own = auth
            .secret
            .iter()
            .map(|secret| (secret, Algorithm::HS256, None));
        let found: Option<(&Secret, Algorithm, Option<String>)> = own.chain(named).next();
        let Some((secret, algorithm, kid)) = found else {
            return Err(if auth.has_keys() {
                "the keys of the configuration check tokens and sign none; \
                 give --private-key FILE, or set auth.secret for development"
            } else {
                "no key is configured; set auth.secret (FANFARE_AUTH__SECRET) to 32 random bytes, \
                 here and for the nodes"
            }
            .to_owned());
        };
        Ok(Self {
            header: Header {
                kid,
                ..Header::new(algorithm)
            },
            key: EncodingKey::from_secret(secret.expose().as_bytes()),
        })
    }

    /// A private key in PEM.
    ///
    /// # Errors
    ///
    /// If it is none that signs by `algorithm`.
    pub fn from_pem(pem: &str, algorithm: &str, kid: Option<String>) -> Result<Self, String> {
        let pem = pem.as_bytes();
        let algorithm: Algorithm = algorithm
            .parse()
            .map_err(|_| format!("the algorithm `{algorithm}` is not known here"))?;
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
                return Err("a private key signs by RS, PS, ES or EdDSA".to_owned());
            }
            _ => EncodingKey::from_rsa_pem(pem),
        };
        let key = key.map_err(|_| format!("it is no private key in PEM for {algorithm:?}"))?;
        Ok(Self {
            header: Header {
                kid,
                ..Header::new(algorithm)
            },
            key,
        })
    }

    /// Signs claims.
    ///
    /// # Errors
    ///
    /// If the key does not sign.
    pub fn sign(&self, claims: &Value) -> Result<String, String> {
        encode(&self.header, claims, &self.key).map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}
