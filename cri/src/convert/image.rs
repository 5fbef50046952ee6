//! Images.

use rrun_cri_api::v1;
use rrun_engine::{Result, check};

/// The name of an image that is to be pulled.
pub fn image_to_pull(wire: v1::ImageSpec) -> Result<String> {
    check::handler(&wire.runtime_handler, "pull image: image.runtime_handler")?;
    Ok(wire.image)
}
