//! What a step's `/etc/hosts` and `/etc/resolv.conf` say.
//!
//! Reference: `hosts(5)`, `resolv.conf(5)`; the names are those that BuildKit's steps see.

use std::io::Read as _;
use std::path::Path;

use stave_graph::Network;

/// Bytes of the host's `resolv.conf` that are read; a longer file is cut there.
const RESOLV_CONF_BYTES_MAX: u64 = 64 * 1024;

/// What `host-gateway` stands for: a step has this machine's network, so this machine is where it is itself.
const HOST_GATEWAY: (&str, &str) = ("host-gateway", "127.0.0.1");

/// Returns the hosts file of a step whose own name is `hostname`, with further names and their addresses.
pub(crate) fn hosts(hostname: &str, further: &[(String, String)]) -> Vec<u8> {
    let mut text = format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, address) in further {
        let address = if address == HOST_GATEWAY.0 { HOST_GATEWAY.1 } else { address };
        text.extend([address, "\t", name, "\n"]);
    }
    text.into_bytes()
}

/// Returns the resolver configuration of a step with this network: the host's, or nothing without a network.
///
/// A host without the file has no name servers either, so that is no error.
pub(crate) fn resolv_conf(network: Network, file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    match network {
        Network::None => {}
        Network::Host => {
            if let Ok(file) = std::fs::File::open(file)
                && file.take(RESOLV_CONF_BYTES_MAX).read_to_end(&mut bytes).is_err()
            {
                bytes.clear();
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_finds_itself_and_localhost() {
        let further = [("other".to_owned(), "192.0.2.7".to_owned()), ("host".to_owned(), "host-gateway".to_owned())];
        let text = String::from_utf8(hosts("buildkitsandbox", &further)).expect("the file is text");
        let lines: Vec<&str> = text.lines().collect();
        let own = ["127.0.0.1\tlocalhost buildkitsandbox", "::1\tlocalhost ip6-localhost ip6-loopback"];
        assert_eq!(lines, [&own[..], &["192.0.2.7\tother", "127.0.0.1\thost"]].concat());
    }

    #[test]
    fn name_servers_come_from_the_host_or_not_at_all() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let file = directory.path().join("resolv.conf");
        assert_eq!(resolv_conf(Network::Host, &file), b"");
        std::fs::write(&file, "nameserver 192.0.2.1\n").expect("it can be written");
        assert_eq!(resolv_conf(Network::Host, &file), b"nameserver 192.0.2.1\n");
        assert_eq!(resolv_conf(Network::None, &file), b"");
    }
}
