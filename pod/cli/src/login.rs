//! `rrun login` and `logout`: credentials of registries, kept as docker keeps them.

use crate::args::{Login, Logout};
use crate::context::Context;
use crate::terminal::{Answers, tell};
use anyhow::{Result, bail};
use rrun_cri::current::Current;
use rrun_cri::parts;
use rrun_images::{Config, Credentials, Kind};
use rrun_pod::credentials::login::{self as kept, FILE, Server};
use std::process::ExitCode;
use tokio::io::AsyncReadExt;

/// A registry that is not named.
const DEFAULT: &str = "docker.io";
/// The longest password that is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// Logs in to a registry that takes the credentials.
pub async fn login(context: &Context, args: &Login) -> Result<ExitCode> {
    let server = server(args.registry.as_deref())?;
    let images = parts::image_store(&Current::new(context.config.as_ref().clone()));
    // The signal must not end us where the terminal hides what is typed: it is waited for before
    // anything is asked.
    tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        done = log_in(&images, &server, args) => done?,
    }
    Ok(ExitCode::SUCCESS)
}

fn server(named: Option<&str>) -> Result<Server> {
    Ok(Server::parse(named.unwrap_or(DEFAULT))?)
}

async fn log_in(images: &Config, server: &Server, args: &Login) -> Result<()> {
    let mut before = String::new();
    if args.username.is_none()
        && args.password.is_none()
        && let Some(known) = kept::stored(server).await?
    {
        before.clone_from(&known.auth.username);
        let auth = rrun_cri::convert::credentials(known.auth);
        let who = Credentials { source: known.source, ..auth };
        match rrun_images::login(images, server.host(), &who).await {
            Ok(()) => {
                println!("Existing credentials are valid. Already logged in to {server}");
                return Ok(());
            }
            Err(error) if error.kind() == Kind::Denied => {
                tell("Existing credentials are invalid, please enter valid username and password");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let (username, password) = asked(args, &before).await?;
    let who = Credentials {
        username: username.clone(),
        password: password.clone(),
        source: "this login".to_owned(),
        ..Credentials::default()
    };
    rrun_images::login(images, server.host(), &who).await?;
    if kept::keep(server, &username, &password).await?.is_none() {
        tell(format_args!(
            "WARNING! Your credentials are stored unencrypted in '{FILE}'. A credential helper \
             (credsStore, credHelpers) keeps them elsewhere."
        ));
    }
    println!("Login Succeeded!");
    Ok(())
}

/// User and password: as given, else from whoever sits at the terminal.
async fn asked(args: &Login, before: &str) -> Result<(String, String)> {
    if args.password.is_some() {
        tell("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let given = match args.password_stdin {
        true => Some(read_password().await?),
        false => args.password.clone(),
    };
    let mut answers = None;
    if args.username.is_none() || given.is_none() {
        let Some(opened) = Answers::open() else {
            bail!("Cannot perform an interactive login from a non TTY device");
        };
        answers = Some(opened);
    }
    let username = match (&args.username, &mut answers) {
        (None, Some(answers)) => {
            let hint = if before.is_empty() { String::new() } else { format!(" ({before})") };
            let typed = answers.ask(&format!("Username{hint}: ")).await?.trim().to_owned();
            if typed.is_empty() { before.to_owned() } else { typed }
        }
        (named, _) => named.clone().unwrap_or_default(),
    };
    if username.is_empty() {
        bail!("username is required");
    }
    if username.contains(':') {
        bail!("username {username:?}: a colon ends it where it is kept and where it is shown");
    }
    let password = match (given, &mut answers) {
        (None, Some(answers)) => answers.ask_secret("Password: ").await?,
        (given, _) => given.unwrap_or_default(),
    };
    if password.is_empty() {
        bail!("password is required");
    }
    Ok((username, password))
}

async fn read_password() -> Result<String> {
    let mut bytes = Vec::new();
    tokio::io::stdin().take(LONGEST + 1).read_to_end(&mut bytes).await?;
    // What an error of the conversion holds is the password.
    let Ok(text) = String::from_utf8(bytes) else { bail!("the password is not UTF-8") };
    if text.len() as u64 > LONGEST {
        bail!("the password is longer than {LONGEST} bytes");
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Logs out of a registry, or of all.
pub async fn logout(args: &Logout) -> Result<ExitCode> {
    if args.all {
        return logout_all().await;
    }
    let server = server(args.registry.as_deref())?;
    if kept::forget(&server).await? {
        println!("Removed login credentials for {server}");
        return Ok(ExitCode::SUCCESS);
    }
    match kept::elsewhere(&server).await? {
        Some(file) => bail!("not logged into {server}; {file} has credentials for it, and stays"),
        None => bail!("not logged into {server}"),
    }
}

async fn logout_all() -> Result<ExitCode> {
    let mut failed = Vec::new();
    for server in kept::servers().await? {
        if let Err(error) = kept::forget(&server).await {
            failed.push(format!("{server}: {error}"));
        }
    }
    if !failed.is_empty() {
        bail!(failed.join("\nrrun: "));
    }
    println!("Removed login credentials for all registries");
    Ok(ExitCode::SUCCESS)
}
