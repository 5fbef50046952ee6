//! The RPCs of the contract, as the trait, its client and its server need them.

use prost_types::{FileDescriptorProto, FileDescriptorSet, ServiceDescriptorProto};

/// Calls whose work is dropped when their client goes away; that of all others goes on.
const CANCELLED_WITH_CLIENT: [&str; 2] = ["ExecSync", "PullImage"];

/// Answers that a server may have encoded before, and what it answers then.
pub const ENCODED: [(&str, &str); 1] =
    [("ListImagesResponse", "crate::Answer<crate::v1::ListImagesResponse>")];

/// One RPC.
pub struct Rpc {
    service: String,
    name: String,
    /// The name of its method in Rust.
    method: String,
    request: String,
    response: String,
    /// Whether it answers a stream.
    streams: bool,
    /// Its comment.
    comment: String,
}

impl Rpc {
    /// Whether it may be encoded before it is answered.
    fn is_encoded(&self) -> bool {
        ENCODED.iter().any(|(response, _)| *response == self.response)
    }

    /// What a caller gets.
    fn answer(&self) -> String {
        match self.streams {
            true => format!("Messages<{}>", self.response),
            false => self.response.clone(),
        }
    }
}

/// All RPCs, in the order of the contract.
pub fn all(files: &FileDescriptorSet) -> Vec<Rpc> {
    let of_file = |file: &FileDescriptorProto| -> Vec<Rpc> {
        let services = file.service.iter().enumerate();
        services.flat_map(|(at, service)| of_service(file, at, service)).collect()
    };
    files.file.iter().flat_map(of_file).collect()
}

fn of_service(file: &FileDescriptorProto, at: usize, service: &ServiceDescriptorProto) -> Vec<Rpc> {
    let methods = service.method.iter().enumerate();
    let rpc = |(number, method): (usize, &prost_types::MethodDescriptorProto)| Rpc {
        service: service.name().to_owned(),
        name: method.name().to_owned(),
        method: snake_case(method.name()),
        request: short(method.input_type()),
        response: short(method.output_type()),
        streams: method.server_streaming(),
        comment: comment(file, &[6, index(at), 2, index(number)]),
    };
    methods.map(rpc).collect()
}

fn index(at: usize) -> i32 {
    i32::try_from(at).unwrap_or(i32::MAX)
}

/// The comment above what stands at `path` (descriptor.proto: 6 is a service, 2 its method).
fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let places = file.source_code_info.iter().flat_map(|info| &info.location);
    let found = places.into_iter().find(|place| place.path == path);
    found.map(|place| place.leading_comments().trim().to_owned()).unwrap_or_default()
}

fn short(full: &str) -> String {
    full.rsplit('.').next().unwrap_or(full).to_owned()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// `trait Cri`
pub fn cri_trait(rpcs: &[Rpc]) -> String {
    let mut code = String::from(
        "/// Both CRI services, without transport: the gRPC client, the daemon's handlers and the\n\
         /// engine in the tool's own process are all one of these. Errors are gRPC statuses, as\n\
         /// clients act on codes. What an implementation leaves out answers `Unimplemented`, by name.\n\
         #[async_trait]\npub trait Cri: Send + Sync {\n",
    );
    for rpc in rpcs {
        let Rpc { name, method, request, comment, .. } = rpc;
        let answer = rpc.answer();
        code += &format!(
            "#[doc = {comment:?}]\n\
             async fn {method}(&self, r: {request}) -> Result<{answer}, Status> {{\n\
             lacks({name:?}, r)\n}}\n"
        );
        if rpc.is_encoded() {
            code += &format!(
                "#[doc = \"The same for a server, which may have encoded it before.\"]\n\
                 async fn {method}_encoded(&self, r: {request}) -> Result<Answer<{answer}>, Status> {{\n\
                 self.{method}(r).await.map(Answer::Message)\n}}\n"
            );
        }
    }
    code + "}\n"
}

/// `impl Cri for Client`
pub fn client(rpcs: &[Rpc]) -> String {
    let mut code = String::from("#[async_trait]\nimpl Cri for Client {\n");
    for rpc in rpcs {
        let Rpc { method, request, .. } = rpc;
        let (answer, stub) = (rpc.answer(), stub(&rpc.service));
        let boxed = if rpc.streams { ".boxed()" } else { "" };
        code += &format!(
            "async fn {method}(&self, r: {request}) -> Result<{answer}, Status> {{\n\
             Ok(self.{stub}().{method}(r).await.map_err(told)?.into_inner(){boxed})\n}}\n"
        );
    }
    code + "}\n"
}

/// The generated service traits, by way of a `Cri`.
pub fn server(rpcs: &[Rpc]) -> String {
    let mut services: Vec<&str> = rpcs.iter().map(|rpc| rpc.service.as_str()).collect();
    services.dedup();
    services.into_iter().map(|service| one_service(service, rpcs)).collect()
}

fn one_service(service: &str, rpcs: &[Rpc]) -> String {
    let module = format!("{}_server", snake_case(service));
    let mut code = format!(
        "#[async_trait]\nimpl<C: Cri + 'static> services::{module}::{service} for Service<C> {{\n"
    );
    for rpc in rpcs.iter().filter(|rpc| rpc.service == service) {
        let Rpc { name, method, request, response, .. } = rpc;
        let (answer, called) = match rpc.is_encoded() {
            true => (format!("Answer<{response}>"), format!("{method}_encoded")),
            false => (rpc.answer(), method.clone()),
        };
        if rpc.streams {
            code += &format!("type {name}Stream = Messages<{response}>;\n");
        }
        let run = match rpc.streams {
            true => "stream",
            false if CANCELLED_WITH_CLIENT.contains(&name.as_str()) => "cancelled_with_client",
            false => "call",
        };
        code += &format!(
            "async fn {method}(&self, r: Request<{request}>) -> Result<Response<{answer}>, Status> {{\n\
             self.{run}({name:?}, r, |cri, r| async move {{ cri.{called}(r).await }}).await\n}}\n"
        );
    }
    code + "}\n"
}

/// The client's own method that answers the stub of a service.
fn stub(service: &str) -> &'static str {
    match service {
        "ImageService" => "images",
        _ => "runtime",
    }
}
