//! `fanfare token`: a token for development, or what is wrong with one.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::Args;
use fanfare_shared::RoomName;
use fanfare_shared::config::Config;
use humantime_serde::re::humantime::{format_duration, format_rfc3339_seconds, parse_duration};
use serde_json::{Map, Value, json};

use super::args::{FileArg, sources};
use super::escape::printable;
use super::failure::{Failure, notice};
use super::output;
use crate::auth::{Credential, Signer, Tokens, Verb};

const EXAMPLES: &str = "\
Examples:
  fanfare token --user ann --allow 'chat:*=join,publish'   sign a token with auth.secret
  FANFARE_TOKEN=$(fanfare token --allow '*') fanfare sub lobby
  fanfare token --check eyJhbGciOi…                        say what a token allows, or why it is refused";

/// Sign a token for development, or check one
///
/// Signs with the first secret of the configuration, or with a private key, and prints the token.
/// What it allows is told on standard error. In production your backend signs tokens by any library
/// for JWT.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TokenArgs {
    #[command(flatten)]
    file: FileArg,
    /// Check this token instead (`-`: the one on standard input)
    #[arg(long, value_name = "TOKEN")]
    check: Option<String>,
    /// Whom the token is for
    #[arg(long, value_name = "USER", conflicts_with = "check")]
    user: Option<String>,
    /// Rooms and what may be done there: chat:*=join,publish. Without verbs: all of them
    #[arg(
        long = "allow",
        value_name = "PATTERN[=VERBS]",
        conflicts_with = "check"
    )]
    allow: Vec<String>,
    /// Room to join with the handshake
    #[arg(long, value_name = "ROOM", conflicts_with = "check")]
    auto: Vec<String>,
    /// What other members see of the user: one JSON value
    #[arg(long, value_name = "JSON", conflicts_with = "check")]
    info: Option<String>,
    /// How long the token is good
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1h",
        conflicts_with = "check"
    )]
    expires: String,
    /// Private key (PEM) to sign with
    #[arg(
        long,
        value_name = "FILE",
        requires = "algorithm",
        conflicts_with = "check"
    )]
    private_key: Option<PathBuf>,
    /// Algorithm of the private key, such as RS256, ES256 or EdDSA
    #[arg(long, value_name = "NAME", requires = "private_key")]
    algorithm: Option<String>,
    /// `kid` of the private key
    #[arg(long, value_name = "ID", requires = "private_key")]
    kid: Option<String>,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

#[allow(clippy::needless_pass_by_value, reason = "as every command is run")]
pub(super) fn run(args: TokenArgs) -> Result<(), Failure> {
    let TokenArgs {
        file, check, json, ..
    } = &args;
    let config = Config::load(&sources(file.clone()))?;
    match check {
        Some(token) => explain(&config, token, *json),
        None => sign(&config, &args),
    }
}

fn explain(config: &Config, token: &str, as_json: bool) -> Result<(), Failure> {
    let token = match token {
        "-" => io::read_to_string(io::stdin()).context("cannot read standard input")?,
        token => token.to_owned(),
    };
    let tokens = Tokens::new(&config.auth).map_err(|error| anyhow!(error))?;
    let tokens = tokens.ok_or_else(|| {
        anyhow!("no key is configured, and so nobody needs a token; set auth.secret or another key")
    })?;
    let credential = tokens
        .check(token.trim())
        .map_err(|rejected| anyhow!("{rejected}"))?;
    let text = if as_json {
        let text = serde_json::to_string_pretty(&described(&credential));
        text.context("cannot print what it says")? + "\n"
    } else {
        told(&credential)
    };
    Ok(output::print(&text)?)
}

fn sign(config: &Config, args: &TokenArgs) -> Result<(), Failure> {
    let signer = match &args.private_key {
        None => Signer::of(&config.auth),
        Some(file) => {
            let name = printable(&file.display().to_string());
            let pem = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
            let algorithm = args.algorithm.as_deref().unwrap_or_default();
            Signer::from_pem(&pem, algorithm, args.kid.clone())
                .map_err(|problem| format!("{name}: {problem}"))
        }
    };
    let signer = signer.map_err(|problem| anyhow!(problem))?;
    let claims = claims(config, args)?;
    let token = signer
        .sign(&claims)
        .map_err(|problem| anyhow!("cannot sign: {problem}"))?;
    // What nodes would say of it, before anyone tries.
    let judge = Tokens::new(&config.auth).map_err(|error| anyhow!(error))?;
    if let Some(judge) = &judge {
        match judge.check(&token) {
            Ok(credential) => told(&credential).lines().for_each(notice),
            Err(rejected) => return Err(anyhow!("a node would refuse it: {rejected}").into()),
        }
    }
    let text = if args.json {
        json!({"token": token, "claims": claims}).to_string()
    } else {
        token
    };
    Ok(output::print(&(text + "\n"))?)
}

/// The claims that the arguments ask for.
fn claims(config: &Config, args: &TokenArgs) -> anyhow::Result<Value> {
    let good_for = parse_duration(&args.expires)
        .map_err(|_| anyhow!("--expires {}: give a time such as 90s or 1h", args.expires))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let names = &config.auth.claims;
    let mut claims = json!({
        "iat": now.as_secs(),
        "exp": now.saturating_add(good_for).as_secs(),
    });
    let mut set = |path: &str, value: Value| {
        // As the nodes look for it: a path with dots is a way through objects.
        let mut place = &mut claims;
        for name in path.split('.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[name];
        }
        *place = value;
    };
    if let Some(user) = &args.user {
        set(&names.user, user.as_str().into());
    }
    if let Some(info) = &args.info {
        let info = serde_json::from_str(info).context("--info is no JSON")?;
        set(&names.info, info);
    }
    if !args.allow.is_empty() {
        set(&names.rooms, allowed(&args.allow));
    }
    if !args.auto.is_empty() {
        set(&names.auto, args.auto.clone().into());
    }
    if let Some(audience) = &config.auth.audience {
        set("aud", audience.as_str().into());
    }
    if let Some(issuer) = &config.auth.issuer {
        set("iss", issuer.as_str().into());
    }
    Ok(claims)
}

/// The grants of `chat:*=join,publish` and the like. Rooms may have a `=` in their names; verbs have
/// none.
fn allowed(said: &[String]) -> Value {
    let mut rooms = Map::new();
    for one in said {
        let (pattern, verbs) = match one.rsplit_once('=') {
            Some((pattern, verbs)) => (pattern, verbs.split(',').map(str::to_owned).collect()),
            None => (
                one.as_str(),
                Verb::ALL.map(|verb| verb.to_string()).to_vec(),
            ),
        };
        let verbs: Vec<String> = verbs;
        rooms.insert(pattern.to_owned(), verbs.into());
    }
    Value::Object(rooms)
}

/// What a token says, for people.
fn told(credential: &Credential) -> String {
    let mut text = match &credential.identity.user {
        Some(user) => format!("user {}", printable(user)),
        None => "no user".to_owned(),
    };
    let end = UNIX_EPOCH + Duration::from_secs(credential.expires);
    let left = end.duration_since(SystemTime::now()).unwrap_or_default();
    let left = format_duration(Duration::from_secs(left.as_secs()));
    // Writing to a string cannot fail.
    let _ = writeln!(text, ", until {} ({left})", format_rfc3339_seconds(end));
    if let Some(info) = &credential.identity.info {
        let _ = writeln!(text, "info {}", printable(info));
    }
    let grants: Vec<_> = credential.grants.list().collect();
    if grants.is_empty() {
        text.push_str("nothing granted: only what the rules open to anyone or to users\n");
    }
    for (pattern, verbs) in grants {
        let verbs: Vec<_> = verbs.iter().map(Verb::as_str).collect();
        let _ = writeln!(text, "{}  {}", printable(&pattern), verbs.join(", "));
    }
    for room in &credential.auto {
        let _ = writeln!(
            text,
            "{} joined with the handshake",
            printable(room.as_str())
        );
    }
    text
}

/// What a token says, for machines.
fn described(credential: &Credential) -> Value {
    let rooms = credential.grants.list().map(|(pattern, verbs)| {
        let verbs: Vec<_> = verbs.iter().map(Verb::as_str).collect();
        (pattern, Value::from(verbs))
    });
    let auto: Vec<_> = credential.auto.iter().map(RoomName::as_str).collect();
    let info = credential.identity.info.as_deref();
    json!({
        "user": credential.identity.user,
        "info": info.and_then(|info| serde_json::from_str::<Value>(info).ok()),
        "expires": credential.expires,
        "rooms": rooms.collect::<Map<_, _>>(),
        "auto": auto,
    })
}
