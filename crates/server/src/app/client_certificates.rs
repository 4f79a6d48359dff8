//! Client certificates: what a channel's endpoint wants to see of us (mTLS), where it wants to see anything.

use sealpost_delivery::client::{Client, Identity, Trust};
use sealpost_delivery::connector::Resolver;
use serde::{Deserialize, Serialize};

use super::App;
use crate::problem::Problem;

/// As it is kept, encrypted.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The certificate and its chain, PEM; `None`: the channel had one, and it was removed.
    certificates: Option<String>,
    key: Option<String>,
}

impl App {
    /// Shows this certificate to a channel's endpoint from now on; `None`: none.
    pub async fn set_client_certificate(
        &self,
        channel_id: &str,
        identity: Option<(String, String)>,
    ) -> Result<(), Problem> {
        if let Some((certificates, key)) = &identity {
            let identity = Identity {
                certificates_pem: certificates.clone().into_bytes(),
                key_pem: key.clone().into_bytes(),
            };
            let trust = Trust::load(None).map_err(|error| unusable(&error))?;
            Client::new(
                self.callback_policy().into(),
                Resolver::System,
                &trust,
                Some(&identity),
            )
            .map_err(|error| unusable(&error))?;
        }
        let (certificates, key) = identity.unzip();
        let kept = serde_json::to_vec(&Kept { certificates, key })
            .map_err(|error| Problem::internal("a client certificate cannot be kept", &error))?;
        let place = place(channel_id);
        let sealed = self.secrets().encrypt(&place, &kept)?;
        self.store()
            .replace_credential(&place, sealed, self.now())
            .await?;
        self.channel_changed(channel_id);
        Ok(())
    }

    /// The certificate that a channel's endpoint wants to see.
    pub(crate) async fn find_client_certificate(&self, channel_id: &str) -> Option<Identity> {
        let place = place(channel_id);
        let opened = match self.store().find_credential(&place).await {
            Ok(None) => return None,
            Ok(Some(sealed)) => self.secrets().decrypt(&place, &sealed),
            Err(error) => {
                tracing::error!(channel = channel_id, %error, "a client certificate cannot be read");
                return None;
            }
        };
        let Some(kept) = opened
            .ok()
            .and_then(|opened| serde_json::from_slice::<Kept>(&opened).ok())
        else {
            tracing::error!(
                channel = channel_id,
                "a client certificate cannot be opened; the endpoint is called without it"
            );
            return None;
        };
        Some(Identity {
            certificates_pem: kept.certificates?.into_bytes(),
            key_pem: kept.key?.into_bytes(),
        })
    }
}

fn unusable(error: &sealpost_delivery::Error) -> Problem {
    Problem::field("client_certificate", "bad_format", format!("{error}"))
}

fn place(channel_id: &str) -> String {
    format!("channel/{channel_id}/client-certificate")
}
