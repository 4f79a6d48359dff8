//! `sealpost operator …`: who may use the console. The first administrator is made here, and whoever is locked out is let in
//! again: who can open the data folder owns the installation.

use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use sealpost_store::{AuditEntry, Role};
use serde_json::{Value, json};

use super::output;
use crate::api::operator::operators::shown_key;
use crate::api::time;
use crate::app::{App, operate};
use crate::secrets::random;

#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand {
    /// Add an operator; prints a password that is shown only now, or reads one from standard input
    Add(AddArgs),
    /// List the operators
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make an operator key for a program, which is shown only now
    AddKey {
        /// What the key is for, 1 to 64 characters
        name: String,
        /// viewer, operator or administrator
        #[arg(long, default_value_t = Role::Viewer)]
        role: Role,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the operator keys
    ListKeys {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke an operator key by its id
    RevokeKey {
        /// The key's id, as `operator list-keys` shows it
        key_id: String,
    },
    /// Give an operator a new password, turn off the second factor and end all sessions
    ResetPassword {
        /// The operator's name
        name: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The operator's name, 1 to 64 characters
    name: String,
    /// viewer, operator or administrator
    #[arg(long, default_value_t = Role::Viewer)]
    role: Role,
    /// Read the password from standard input instead of making one
    #[arg(long)]
    password_stdin: bool,
    /// Give no password: they sign in at the OpenID provider, where their name is this
    #[arg(long, conflicts_with = "password_stdin")]
    invite: bool,
}

pub(super) async fn run(command: OperatorCommand, app: &App) -> anyhow::Result<ExitCode> {
    match command {
        OperatorCommand::Add(args) if args.invite => {
            let entry = entry(app, "operator.add", &args.name, args.role.as_str());
            operate::add_operator(app, &args.name, args.role, None, entry).await?;
            output::line(&format!("{}/console", app.public_url()))
        }
        OperatorCommand::Add(args) => {
            let password = password(args.password_stdin)?;
            let entry = entry(app, "operator.add", &args.name, args.role.as_str());
            operate::add_operator(app, &args.name, args.role, Some(password.clone()), entry)
                .await?;
            show(app, &password, args.password_stdin)
        }
        OperatorCommand::ResetPassword {
            name,
            password_stdin,
        } => {
            let password = password(password_stdin)?;
            let entry = entry(app, "operator.reset_password", &name, "");
            operate::set_operator_password(app, &name, password.clone(), entry).await?;
            show(app, &password, password_stdin)
        }
        OperatorCommand::List { json } => list(app, json).await,
        OperatorCommand::AddKey { name, role, json } => {
            let entry = entry(app, "operator_key.add", "", "");
            let new = operate::add_operator_key(app, &name, role, entry).await?;
            if json {
                return output::json(&json!({ "id": new.id, "operator_key": new.secret }));
            }
            output::line(&format!(
                "new operator key {} (shown only now):\n{}",
                new.id, new.secret
            ))
        }
        OperatorCommand::ListKeys { json } => list_keys(app, json).await,
        OperatorCommand::RevokeKey { key_id } => {
            let entry = entry(app, "operator_key.revoke", &key_id, "");
            let revoked = app.store().revoke_operator_key(&key_id, app.now(), entry);
            anyhow::ensure!(revoked.await?, "there is no operator key {key_id:?}");
            output::line("revoked")
        }
    }
}

async fn list(app: &App, as_json: bool) -> anyhow::Result<ExitCode> {
    let operators = app.store().operators().await?;
    if as_json {
        let all = operators.iter().map(|operator| {
            json!({
                "name": operator.name,
                "role": operator.role.as_str(),
                "second_factor": operator.totp_secret.is_some(),
                "created_at": time(operator.created_at),
                "disabled_at": operator.disabled_at.map(time),
            })
        });
        return output::json(&Value::Array(all.collect()));
    }
    let rows: Vec<Vec<String>> = operators
        .iter()
        .map(|operator| {
            let state = if operator.disabled_at.is_some() {
                "disabled"
            } else {
                ""
            };
            let factor = if operator.totp_secret.is_some() {
                "on"
            } else {
                "off"
            };
            vec![
                operator.name.clone(),
                operator.role.to_string(),
                factor.to_owned(),
                state.to_owned(),
            ]
        })
        .collect();
    output::table(&["NAME", "ROLE", "SECOND FACTOR", ""], &rows)
}

async fn list_keys(app: &App, as_json: bool) -> anyhow::Result<ExitCode> {
    let keys = app.store().operator_keys().await?;
    if as_json {
        return output::json(&Value::Array(keys.iter().map(shown_key).collect()));
    }
    let rows: Vec<Vec<String>> = keys
        .into_iter()
        .map(|key| {
            let state = key
                .revoked_at
                .map_or_else(String::new, |at| format!("revoked {}", time(at)));
            vec![
                key.id,
                key.name,
                key.role.to_string(),
                key.created_by,
                state,
            ]
        })
        .collect();
    output::table(&["ID", "NAME", "ROLE", "MADE BY", ""], &rows)
}

/// One line of standard input, or a new password of 120 random bits.
fn password(from_stdin: bool) -> anyhow::Result<String> {
    if !from_stdin {
        let bits = random::<15>().context("no password could be made")?;
        let digits = hex::encode(bits);
        let groups: Vec<&str> = (0..digits.len())
            .step_by(6)
            .map(|at| &digits[at..at + 6])
            .collect();
        return Ok(groups.join("-"));
    }
    if std::io::stdin().is_terminal() {
        eprintln!("Password (it is shown as you type; better pipe it in):");
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("standard input cannot be read")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn show(app: &App, password: &str, given: bool) -> anyhow::Result<ExitCode> {
    let page = format!("{}/console", app.public_url());
    if given {
        output::line(&page)
    } else {
        output::line(&format!("password  {password}\nconsole   {page}"))
    }
}

fn entry(app: &App, action: &str, subject: &str, detail: &str) -> AuditEntry {
    AuditEntry {
        at: app.now(),
        operator: "command line".to_owned(),
        action: action.to_owned(),
        subject: Some(subject.to_owned()),
        detail: (!detail.is_empty()).then(|| detail.to_owned()),
        address: None,
    }
}
