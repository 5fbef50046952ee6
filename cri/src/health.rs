//! Whether the daemon serves: asked as a client would.

use rrun_cri_api::v1::VersionRequest;
use rrun_cri_api::{Client, Cri};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;

/// Longer than any call takes that asks nobody else.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for the version over `socket`: whoever gets it finds connections accepted and calls served.
///
/// # Errors
/// Why there is no answer.
pub async fn answers(socket: &Path) -> Result<(), String> {
    let asked = async {
        let client = Client::connect(&format!("unix://{}", socket.display())).await?;
        client.version(VersionRequest::default()).await
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(format!("the CRI does not answer: {}", status.message())),
        Err(_) => Err(format!("the CRI does not answer in {} s", PATIENCE.as_secs())),
    }
}
