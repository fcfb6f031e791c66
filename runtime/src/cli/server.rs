//! `dacapo server`: runs the server until it is told to stop.

use std::future::Future;
use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::Exit;
use super::output::{BOLD, DIM, Output};
use crate::app::App;
use crate::config::{Config, ServerArgs};

/// Names the variable that chooses what is logged, for example `info,dacapo::http=debug`.
const LOG_VARIABLE: &str = "DACAPO_LOG";

/// `dacapo server`
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: ServerArgs,
}

/// Serves until SIGINT or SIGTERM.
pub(super) fn run(arguments: Arguments, output: Output) -> anyhow::Result<Exit> {
    let print_config = arguments.server.print_config;
    let config = arguments.server.into_config()?;
    if print_config {
        return show_config(output, &config);
    }
    log_to_stderr("info");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(config, output))?;
    Ok(Exit::Done)
}

/// Shows the settings in effect: people get the form of the file.
pub(super) fn show_config(output: Output, config: &Config) -> anyhow::Result<Exit> {
    let text = config.print();
    match output {
        Output::Json => output.json(&toml::from_str::<serde_json::Value>(&text)?.to_string())?,
        Output::Human => output.line(text.trim_end())?,
    }
    Ok(Exit::Done)
}

async fn serve(config: Config, output: Output) -> anyhow::Result<()> {
    let data_dir = config.data_dir.clone();
    let stop = stop_signal()?;
    let app = App::start(config).await.context("the server cannot start")?;
    announce(output, &app, &data_dir)?;
    app.run_until(stop).await?;
    Ok(())
}

/// Says where the server is, and at the first start which keys open it. Machines get the address
/// as `{"url": …, "dataDir": …}`.
pub(super) fn announce(output: Output, app: &App, data_dir: &Path) -> anyhow::Result<()> {
    let url = base_url(app.address());
    if let Output::Json = output {
        let about = serde_json::json!({ "url": url, "dataDir": data_dir });
        return Ok(output.json(&about.to_string())?);
    }
    let shown = data_dir.display();
    // Scripts wait for this line; it is the only one on standard output.
    output.line(format_args!("listening on {url}"))?;
    output.note(format_args!("{BOLD}dacapo{BOLD:#} {DIM}keeps its data in {shown}{DIM:#}"))?;
    let keys = app.keys();
    if keys.environments.is_empty() {
        return Ok(output.note(format_args!("{DIM}  keys: {shown}/dev.key, {shown}/admin.key{DIM:#}"))?);
    }
    // Logs of services are kept and read by many: keys belong on a terminal only.
    if !std::io::stderr().is_terminal() {
        return Ok(output.note(format_args!(
            "  keys: {shown}/dev.key, {shown}/admin.key; for other environments: dacapo keys create ENV"
        ))?);
    }
    for (slug, key) in &keys.environments {
        output.note(format_args!("  {DIM}{slug:5}{DIM:#} {key}"))?;
    }
    output.note(format_args!("  {DIM}admin{DIM:#} {}", keys.admin))?;
    Ok(output.note(format_args!(
        "{DIM}  shown this once; dev and admin are kept in {shown}, others are made by `dacapo keys create ENV`{DIM:#}"
    ))?)
}

/// Where a client on this machine finds a server that listens on `address`.
pub(super) fn base_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

/// Logs to standard error: lines in a terminal, JSON elsewhere. `default` is what is logged where
/// the environment does not say.
pub(super) fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_env(LOG_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // The only error is that logging is set up already, which is as good.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_ansi(std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())).try_init()
    } else {
        builder.json().try_init()
    };
}

/// Ends at the first SIGINT or SIGTERM; the second ends the process at once.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => std::process::exit(130),
                _ = terminate.recv() => std::process::exit(143),
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_all_addresses_is_found_on_this_machine() {
        let url = |text: &str| base_url(text.parse().unwrap());
        assert_eq!(url("0.0.0.0:3040"), "http://127.0.0.1:3040");
        assert_eq!(url("[::]:1"), "http://[::1]:1");
        assert_eq!(url("10.0.0.1:80"), "http://10.0.0.1:80");
    }
}
