//! TLS in front of a server that speaks none: it presents any certificate, and counts the clients that trust it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// A certificate that signs itself, and its key.
#[derive(Debug)]
pub struct SelfSigned {
    key: KeyPair,
    /// In PEM.
    pub certificate: String,
}

impl SelfSigned {
    /// With a new key, and this subject beside the names `localhost` and `127.0.0.1`.
    pub fn new(subject: &str) -> Self {
        Self::with(KeyPair::generate().unwrap(), subject)
    }

    /// Another certificate with the same key.
    pub fn renewed(&self, subject: &str) -> Self {
        Self::with(KeyPair::from_pem(&self.key()).unwrap(), subject)
    }

    fn with(key: KeyPair, subject: &str) -> Self {
        let mut parameters = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, subject);
        let certificate = parameters.self_signed(&key).unwrap().pem();
        Self { key, certificate }
    }

    /// Its key in PEM.
    pub fn key(&self) -> String {
        self.key.serialize_pem()
    }

    /// The SubjectPublicKeyInfo of its key.
    pub fn public_key(&self) -> Vec<u8> {
        use rcgen::PublicKeyData;
        self.key.subject_public_key_info()
    }

    /// What a server needs that presents it.
    pub fn acceptor(&self) -> TlsAcceptor {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        acceptor(
            certificate,
            PrivateKeyDer::try_from(self.key.serialize_der()).unwrap(),
        )
    }
}

/// What a server needs that presents this certificate.
pub fn acceptor(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Terminates TLS in front of a web server, until it is dropped.
pub struct Front {
    port: u16,
    acceptor: Arc<Mutex<TlsAcceptor>>,
    trusted: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Front {
    /// In front of the server of this http: URL.
    pub async fn of(url: &str, acceptor: TlsAcceptor) -> Self {
        let backend = url.trim_start_matches("http://").split('/').next().unwrap();
        let backend: SocketAddr = backend.parse().unwrap();
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = Arc::new(Mutex::new(acceptor));
        let (trusted, refused) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut serving = JoinSet::new();
        let (presented, yes, no) = (acceptor.clone(), trusted.clone(), refused.clone());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = presented.lock().unwrap().clone();
                let (yes, no) = (yes.clone(), no.clone());
                connections.spawn(async move {
                    // Ends only after the client has accepted the certificate.
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        no.fetch_add(1, Ordering::SeqCst);
                        return;
                    };
                    yes.fetch_add(1, Ordering::SeqCst);
                    if let Ok(mut backend) = TcpStream::connect(backend).await {
                        // Ends with an error when the client goes away without saying goodbye.
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut backend).await;
                    }
                });
            }
        });
        Self {
            port,
            acceptor,
            trusted,
            refused,
            _serving: serving,
        }
    }

    /// `https://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Its port, on all addresses of this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Presents this certificate at the connections that come.
    pub fn present(&self, certificate: &SelfSigned) {
        *self.acceptor.lock().unwrap() = certificate.acceptor();
    }

    /// How many clients have completed the handshake. The others have sent nothing.
    pub fn trusted(&self) -> usize {
        self.trusted.load(Ordering::SeqCst)
    }

    /// How many clients have not completed the handshake.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}
