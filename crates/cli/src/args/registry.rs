//! The arguments of the commands about registries alone: `login`, `logout`.

use clap::Args;

/// Log in to a registry: its name and password are kept for every later command
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pass show registry | stave login -u me --password-stdin registry.example.com
  stave login                                            Docker Hub, asking for name and password

They are tried at the registry first, and then kept where docker keeps them: in config.json of
$DOCKER_CONFIG or ~/.docker, or with the credential helper that it names. See docs/registries.md.")]
pub(crate) struct LoginArgs {
    /// The user's name [default: asked for on a terminal]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// The password; everybody on this machine can read it there, so rather use `--password-stdin`
    #[arg(short, long, value_name = "PASSWORD", conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// The registry's host [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
}

/// Forget the name and password for a registry
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry's host [default: Docker Hub]
    #[arg(value_name = "SERVER")]
    pub(crate) server: Option<String>,
}
