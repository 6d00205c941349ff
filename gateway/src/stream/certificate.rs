//! The certificate of a port: its files, and what new connections have of them. Those that are open
//! keep what they began with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use fanfare_shared::config::{ConfigError, InternalTls, Tls};
use parking_lot::{Mutex, RwLock};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use super::validity::ends;

/// What is spoken over TLS (RFC 7301).
const PROTOCOL: &[u8] = b"http/1.1";

/// How often a session can be resumed that one handshake began (RFC 8446, section 4.6.1).
const TICKETS: usize = 1;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// The files of one port.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// Where the keys of the configuration are: `tls` or `internal.tls`.
    section: &'static str,
    cert: PathBuf,
    key: PathBuf,
    /// The authorities of those who may connect.
    client_ca: Option<PathBuf>,
}

/// When each of the files changed last.
type Changed = [Option<SystemTime>; 3];

/// A certificate that is in use, replaced as a whole.
pub(crate) struct Certificate {
    files: Files,
    changed: Mutex<Changed>,
    current: RwLock<Current>,
}

/// What the files say.
struct Current {
    config: Arc<ServerConfig>,
    ends: i64,
}

impl Files {
    /// Those of the public port, if it has any.
    pub(crate) fn of_public(tls: &Tls) -> Result<Option<Self>, ConfigError> {
        Self::of("tls", tls.cert.as_deref(), tls.key.as_deref(), None)
    }

    /// Those of the internal port, if it has any.
    pub(crate) fn of_internal(tls: &InternalTls) -> Result<Option<Self>, ConfigError> {
        let (cert, key) = (tls.cert.as_deref(), tls.key.as_deref());
        Self::of("internal.tls", cert, key, tls.client_ca.as_deref())
    }

    fn of(
        section: &'static str,
        cert: Option<&Path>,
        key: Option<&Path>,
        client_ca: Option<&Path>,
    ) -> Result<Option<Self>, ConfigError> {
        let alone = |name: &str, path: &Path, other: &str| {
            let (name, other) = (format!("{section}.{name}"), format!("{section}.{other}"));
            refusal(
                &name,
                path,
                &format!("given without {other}"),
                &format!("set {other} to a file in PEM as well, or remove {name}"),
            )
        };
        match (cert, key, client_ca) {
            (Some(cert), Some(key), client_ca) => Ok(Some(Self {
                section,
                cert: cert.to_owned(),
                key: key.to_owned(),
                client_ca: client_ca.map(Path::to_owned),
            })),
            (Some(cert), None, _) => Err(alone("cert", cert, "key")),
            (None, Some(key), _) => Err(alone("key", key, "cert")),
            (None, None, Some(authorities)) => Err(alone("client_ca", authorities, "cert")),
            (None, None, None) => Ok(None),
        }
    }

    /// The certificate of the port, as one who connects shows it.
    pub(crate) fn pair(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ConfigError> {
        let certificates = self.certificates("cert", &self.cert)?;
        let (text, unreadable) = (self.text("key", &self.key)?, "no private key in PEM");
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            PemError::NoItemsFound => self.refusal("key", &self.key, unreadable),
            error => self.refusal("key", &self.key, &format!("{unreadable}: {error}")),
        })?;
        Ok((certificates, key))
    }

    fn read(&self) -> Result<Current, ConfigError> {
        let (certificates, key) = self.pair()?;
        let unreadable = || self.refusal("cert", &self.cert, "its validity cannot be read");
        let ends = ends(&certificates).ok_or_else(unreadable)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let refuse = |error: rustls::Error| {
            self.refusal("cert", &self.cert, &format!("cannot be used: {error}"))
        };
        let key = self.certified(certificates, key, &provider)?;
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(refuse)?;
        let config = match &self.client_ca {
            None => config.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in self.certificates("client_ca", path)? {
                    roots.add(certificate).map_err(|error| {
                        self.refusal("client_ca", path, &format!("cannot be used: {error}"))
                    })?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = verifier.build().map_err(|error| {
                    self.refusal("client_ca", path, &format!("cannot be used: {error}"))
                })?;
                config.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            config.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Of each certificate its own: a session that one authority let in goes with it.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(refuse)?;
        config.send_tls13_tickets = TICKETS;
        let config = Arc::new(config);
        Ok(Current { config, ends })
    }

    fn certified(
        &self,
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, ConfigError> {
        let key = provider.key_provider.load_private_key(key);
        let key = key
            .map_err(|error| self.refusal("key", &self.key, &format!("cannot be used: {error}")))?;
        let pair = CertifiedKey::new(certificates, key);
        match pair.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
            Err(rustls::Error::InconsistentKeys(_)) => {
                let cert = self.cert.display();
                let problem = format!("it is not the key of {}.cert = \"{cert}\"", self.section);
                Err(self.refusal("key", &self.key, &problem))
            }
            Err(error) => {
                Err(self.refusal("cert", &self.cert, &format!("cannot be used: {error}")))
            }
        }
    }

    fn certificates(
        &self,
        name: &str,
        path: &Path,
    ) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let text = self.text(name, path)?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match found {
            Ok(found) if found.is_empty() => Err(self.refusal(name, path, "no certificate in PEM")),
            Ok(found) => Ok(found),
            Err(error) => Err(self.refusal(name, path, &format!("no certificate in PEM: {error}"))),
        }
    }

    fn text(&self, name: &str, path: &Path) -> Result<Vec<u8>, ConfigError> {
        let unreadable = |error| self.refusal(name, path, &format!("cannot be read: {error}"));
        let size = fs::metadata(path).map_err(unreadable)?.len();
        if size > LARGEST {
            return Err(self.refusal(name, path, "too large"));
        }
        fs::read(path).map_err(unreadable)
    }

    fn refusal(&self, name: &str, path: &Path, problem: &str) -> ConfigError {
        let remedy = match name {
            "cert" => "give the certificate and those that lead to its authority, in PEM",
            "key" => "give the private key of the certificate, in PEM, readable for the node",
            _ => "give the certificates of the authorities of your callers, in PEM",
        };
        refusal(&format!("{}.{name}", self.section), path, problem, remedy)
    }

    /// When each of the files changed last.
    fn changed(&self) -> Changed {
        let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        [
            changed(&self.cert),
            changed(&self.key),
            self.client_ca.as_deref().and_then(changed),
        ]
    }
}

impl Certificate {
    /// Reads the files.
    pub(crate) fn read(files: Files) -> Result<Self, ConfigError> {
        // Before the files: what changes meanwhile is seen the next time.
        let changed = files.changed();
        let current = files.read()?;
        Ok(Self {
            files,
            changed: Mutex::new(changed),
            current: RwLock::new(current),
        })
    }

    /// What a new connection begins with.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().config)
    }

    /// When it runs out, or the first of those that lead to its authority, in seconds since 1970.
    pub(crate) fn ends(&self) -> i64 {
        self.current.read().ends
    }

    /// Where its keys of the configuration are.
    pub(crate) const fn section(&self) -> &'static str {
        self.files.section
    }

    /// Reads the files anew if they changed. Answers whether they did. Files that cannot be used are
    /// an error, and leave what is in use as it is.
    pub(crate) fn reread(&self) -> Result<bool, ConfigError> {
        let changed = self.files.changed();
        if changed == *self.changed.lock() {
            return Ok(false);
        }
        let current = self.files.read()?;
        *self.current.write() = current;
        *self.changed.lock() = changed;
        Ok(true)
    }
}

fn refusal(key: &str, path: &Path, problem: &str, remedy: &str) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        value: format!("\"{}\"", path.display().to_string().escape_default()),
        origin: None,
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    }
}
