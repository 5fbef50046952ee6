//! Messages about images.

use rrun_cri_api::v1;
use rrun_engine::handlers::Handlers;
use rrun_engine::{Result, check};
use rrun_images::Credentials;

/// The name of an image that is to be pulled.
pub fn image_to_pull(wire: v1::ImageSpec, handlers: &Handlers) -> Result<String> {
    check::handler(handlers, &wire.runtime_handler, "pull image: image.runtime_handler")?;
    Ok(wire.image)
}

/// Who pulls an image.
pub fn credentials(auth: v1::AuthConfig) -> Credentials {
    Credentials {
        username: auth.username,
        password: auth.password,
        auth: auth.auth,
        server_address: auth.server_address,
        identity_token: auth.identity_token,
        registry_token: auth.registry_token,
        source: String::new(),
    }
}
