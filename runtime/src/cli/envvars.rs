//! `dacapo envvars`: the environment variables that tasks see.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ureq::http::Method;

use super::client::{Client, Route};
use super::connection::Connection;
use super::output::{Field, GOOD, Output, clean};
use super::{Exit, Usage, input};
use crate::api::{ChangeReceipt, ImportVariablesRequest, VariableItem};

/// `dacapo envvars`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List variables; values of secrets are not shown
    #[command(visible_alias = "ls")]
    List,
    /// Set a variable, whether or not it is there
    Set {
        /// Its name
        name: String,
        /// Its value; without it, or for `-`, what standard input says (which stays out of the
        /// shell's history)
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
        /// Never show the value again
        #[arg(long)]
        secret: bool,
    },
    /// Remove a variable
    Unset {
        /// Its name
        name: String,
    },
    /// Set what a `.env` file or a JSON object says
    Import {
        /// The file; `-` is standard input
        file: PathBuf,
        /// Replace variables that are there
        #[arg(long)]
        r#override: bool,
        /// Never show the values again
        #[arg(long)]
        secret: bool,
    },
}

/// Runs one of the subcommands.
pub(super) fn run(arguments: Arguments, output: Output) -> anyhow::Result<Exit> {
    let client = arguments.connection.client()?;
    let slug = arguments.connection.slug(&client).as_str();
    let route = Route::new("/api/v1/projects/default/envvars").segment(slug);
    match arguments.command {
        Command::List => show_list(&client, route, output)?,
        Command::Set { name, value, secret } => {
            let value = match value {
                Some(value) if value != "-" => value,
                Some(_) | None => without_line_break(input::read("-".as_ref())?),
            };
            let done = format!("{} is set in {slug}", clean(&name));
            let request =
                ImportVariablesRequest { variables: [(name, value)].into(), r#override: true, is_secret: secret };
            import(&client, route, &request, &done, output)?;
        }
        Command::Unset { name } => {
            let answer = client.send_empty::<ChangeReceipt>(Method::DELETE, route.segment(&name))?;
            match output {
                Output::Json => output.json(&answer.text)?,
                Output::Human => {
                    output.line(format_args!("{GOOD}✓{GOOD:#} {} is removed from {slug}", clean(&name)))?;
                }
            }
        }
        Command::Import { file, r#override, secret } => {
            let variables = variables(&input::read(&file)?)?;
            if variables.is_empty() {
                return Err(Usage::new(format!("{} names no variables", file.display())).into());
            }
            let done = format!("{} variables are imported into {slug}", variables.len());
            let request = ImportVariablesRequest { variables, r#override, is_secret: secret };
            import(&client, route, &request, &done, output)?;
        }
    }
    Ok(Exit::Done)
}

fn show_list(client: &Client, route: Route, output: Output) -> anyhow::Result<()> {
    let answer = client.get::<Vec<VariableItem>>(route)?;
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human if answer.value.is_empty() => output.note("no variables; set one with `dacapo envvars set`")?,
        Output::Human => output.table(&["name", "value"], answer.value.iter().map(row).collect())?,
    }
    Ok(())
}

fn row(variable: &VariableItem) -> Vec<Field> {
    let value = if variable.is_secret { Field::Dim("(secret)".into()) } else { variable.value.clone().into() };
    vec![variable.name.clone().into(), value]
}

fn import(
    client: &Client,
    route: Route,
    request: &ImportVariablesRequest,
    done: &str,
    output: Output,
) -> anyhow::Result<()> {
    let answer = client.send::<ChangeReceipt>(Method::POST, route.path("/import"), request)?;
    match output {
        Output::Json => output.json(&answer.text)?,
        Output::Human => output.line(format_args!("{GOOD}✓{GOOD:#} {done}"))?,
    }
    Ok(())
}

fn without_line_break(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

/// Variables of a JSON object of strings, or of lines `NAME=value` as in `.env` files.
fn variables(text: &str) -> Result<BTreeMap<String, String>, Usage> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text)
            .map_err(|error| Usage::new(format!("not a JSON object of strings: {error}")));
    }
    let lines = text.lines().enumerate();
    let kept = lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    kept.map(|(index, line)| {
        variable(line.trim()).map_err(|problem| Usage::new(format!("line {}: {problem}", index + 1)))
    })
    .collect()
}

fn variable(line: &str) -> Result<(String, String), &'static str> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=').ok_or("write NAME=value")?;
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() {
        return Err("there is no name before `=`");
    }
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&value[1..], quote)?,
        // A comment begins behind a blank.
        Some(_) | None => value.split(" #").next().unwrap_or(value).trim_end().to_owned(),
    };
    Ok((name.into(), value))
}

fn quoted(text: &str, quote: char) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            char if char == quote => {
                let rest = chars.as_str().trim_start();
                let is_clean = rest.is_empty() || rest.starts_with('#');
                return if is_clean { Ok(value) } else { Err("there is something behind the closing quote") };
            }
            '\\' if quote == '"' => match chars.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(char @ ('"' | '\\' | '$')) => value.push(char),
                Some(char) => value.extend(['\\', char]),
                None => break,
            },
            char => value.push(char),
        }
    }
    Err("the closing quote is missing (values on several lines: write \\n)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<(&str, &str), &str>) {
        let read = variable(line);
        match expected {
            Ok((name, value)) => assert_eq!(read, Ok((name.into(), value.into())), "{line}"),
            Err(part) => assert!(read.unwrap_err().contains(part), "{line}"),
        }
    }

    #[test]
    fn env_files_are_read_as_shells_write_them() {
        check("A=1", Ok(("A", "1")));
        check("export A = b c # comment", Ok(("A", "b c")));
        check("A=b#c", Ok(("A", "b#c")));
        check("A=", Ok(("A", "")));
        check(r#"A="x\n\"y\" # z" # comment"#, Ok(("A", "x\n\"y\" # z")));
        check(r"A='x\n'", Ok(("A", r"x\n")));
        check("A", Err("NAME=value"));
        check("=1", Err("no name"));
        check("A=\"x", Err("closing quote is missing"));
        check("A='x' y", Err("behind the closing quote"));
    }

    #[test]
    fn errors_name_the_line_and_never_the_value() {
        let error = variables("# fine\n\nA=1\nsecret").unwrap_err().to_string();
        assert_eq!(error, "line 4: write NAME=value");
    }

    #[test]
    fn a_json_object_will_do_too() {
        assert_eq!(variables(r#" {"A":"1"} "#).unwrap(), [("A".to_owned(), "1".to_owned())].into());
        assert!(variables(r#"{"A":1}"#).is_err());
    }
}
