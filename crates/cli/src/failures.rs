//! Where errors of the floors below become words and an exit code.
//!
//! Their texts are fragments that read well after "failed to"; that is what stands before them here.

use registry_client::{ClientError, ErrorKind};
use settings::serve::ServeSettingsError;
use settings::{CredentialError, PathsError};
use store::{StoreError, StoreErrorKind};
use transfer::TransferError;

use crate::exit::Exit;
use crate::output::{Failure, chain};

impl From<StoreErrorKind> for Exit {
    fn from(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::NotFound => Self::NotFound,
            StoreErrorKind::Unauthorized | StoreErrorKind::Denied => Self::Auth,
            StoreErrorKind::RateLimited => Self::RateLimited,
            StoreErrorKind::Invalid => Self::Invalid,
            StoreErrorKind::Network => Self::Network,
            _ => Self::Failure,
        }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::Unauthorized | ErrorKind::NoCredentials | ErrorKind::Denied => Self::Auth,
            ErrorKind::RateLimited => Self::RateLimited,
            ErrorKind::HttpInsteadOfHttps
            | ErrorKind::NotTls
            | ErrorKind::UnknownCa
            | ErrorKind::WrongHostName
            | ErrorKind::CertificateExpired
            | ErrorKind::Tls
            | ErrorKind::ConnectionRefused
            | ErrorKind::Dns
            | ErrorKind::Timeout
            | ErrorKind::Network => Self::Network,
            ErrorKind::DigestMismatch
            | ErrorKind::LengthMismatch
            | ErrorKind::TooLarge
            | ErrorKind::InvalidDocument
            | ErrorKind::InvalidResponse
            | ErrorKind::Redirect => Self::Invalid,
            _ => Self::Failure,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(error.kind.into(), format!("failed to {}", chain(&error))).hint(error.hint)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = error.hint().map(str::to_owned);
        let exit = match (error.kind(), error.status()) {
            // One that is out of order says nothing about credentials.
            (ErrorKind::TokenServer, Some(401 | 403)) => Exit::Auth,
            (kind, _) => kind.into(),
        };
        Self::new(exit, format!("failed to {}", chain(&error))).hint(hint)
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let exit = match &error {
            TransferError::NoSuchPlatform { .. } => Exit::NotFound,
            TransferError::Contradiction { .. } | TransferError::TooLarge { .. } => Exit::Invalid,
            error => error.store_error().map_or(Exit::Failure, |error| error.kind.into()),
        };
        Self::new(exit, format!("failed to {}", chain(&error))).hint(error.hint())
    }
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        Self::new(Exit::Failure, format!("failed to {}", chain(&error))).hint(error.hint())
    }
}

impl From<PathsError> for Failure {
    fn from(error: PathsError) -> Self {
        Self::chain(Exit::Failure, &error).hint(error.hint())
    }
}

impl From<ServeSettingsError> for Failure {
    fn from(error: ServeSettingsError) -> Self {
        let hint = match &error {
            ServeSettingsError::Paths(error) => Some(error.hint()),
            _ => None,
        };
        Self::usage(format!("failed to {}", chain(&error))).hint(hint)
    }
}
