//! Addresses of hosts: literals, `/etc/hosts`, and the name servers of `/etc/resolv.conf`.
//!
//! `getaddrinfo` of a static binary reads these files too, but it loads whatever other modules `/etc/nsswitch.conf`
//! names (`resolve`, `mdns4_minimal`...), which were made for the host's C library and not for the one inside; and
//! nothing can interrupt it.
//!
//! Reference: RFC 1035; resolv.conf(5); RFC 6761, section 6.3 (`localhost`).

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, TYPE};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver as UreqResolver};
use ureq::unversioned::transport::NextTimeout;

use crate::cancel::Cancel;
use crate::client::Reach;
use crate::environment::read_optional;
use crate::limits;
use crate::url::is_own;

/// How often a wait looks whether somebody asked for an end.
const TICK: Duration = Duration::from_millis(50);

/// Why a host has no address.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct ResolveError {
    /// In words.
    pub(crate) reason: String,
    /// Whether asking again may help.
    pub(crate) temporary: bool,
}

/// Finds addresses.
pub(crate) struct Resolver {
    etc: PathBuf,
    cancel: Cancel,
    timeout: Duration,
    reach: Reach,
    /// The port that name servers listen on: 53, but in tests.
    port: u16,
    /// What was found lately: the HTTP library asks before each request, also where it has a connection already.
    known: Mutex<BTreeMap<String, (Instant, Vec<IpAddr>)>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resolver")
    }
}

impl UreqResolver for Resolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or_else(|| ureq::Error::BadUri("there is no host in it".to_owned()))?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let found = self.remembered(host).map_err(|error| ureq::Error::Other(Box::new(error)))?;
        let mut addresses = self.empty();
        let reached = |address: &IpAddr| self.reach == Reach::Everything || !is_own(*address);
        let found: Vec<IpAddr> = found.into_iter().filter(reached).take(16).collect();
        if found.is_empty() {
            let reason = "it is this machine, or one that only this machine sees".to_owned();
            return Err(ureq::Error::Other(Box::new(ResolveError { reason, temporary: false })));
        }
        for address in found {
            addresses.push(SocketAddr::new(address, port));
        }
        Ok(addresses)
    }
}

impl Resolver {
    pub(crate) fn new(etc: &Path, cancel: Cancel, timeout: Duration, reach: Reach) -> Self {
        Self { etc: etc.to_owned(), cancel, timeout, reach, port: 53, known: Mutex::default() }
    }

    /// Returns the addresses of `host`, looking them up at most once a minute.
    fn remembered(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((found, addresses)) = known().get(host)
            && found.elapsed() < limits::DNS_REMEMBERED
        {
            return Ok(addresses.clone());
        }
        let addresses = self.addresses(host)?;
        known().insert(host.to_owned(), (Instant::now(), addresses.clone()));
        Ok(addresses)
    }

    /// Returns the addresses of `host`, the two kinds taking turns; never none.
    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![address]);
        }
        let host = host.to_ascii_lowercase();
        let file = |name: &str| read_optional(&self.etc.join(name)).ok().flatten().unwrap_or_default();
        let listed = in_hosts(&String::from_utf8_lossy(&file("hosts")), &host);
        if !listed.is_empty() {
            return Ok(listed);
        }
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]);
        }
        let settings = Settings::parse(&String::from_utf8_lossy(&file("resolv.conf")));
        self.ask_all(&settings, &host)
    }

    fn ask_all(&self, settings: &Settings, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let end = Instant::now() + self.timeout;
        let mut failure = ResolveError { reason: "there is no such host".to_owned(), temporary: false };
        for name in settings.candidates(host) {
            match self.ask_servers(settings, &name, end) {
                Ok(found) if !found.is_empty() => return Ok(found),
                Ok(_) => {}
                // A name server that does not answer says nothing about the name.
                Err(error) => failure = ResolveError { reason: error.to_string(), temporary: true },
            }
        }
        Err(failure)
    }

    /// Asks the servers in turn; returns nothing if one says that there is no such name.
    fn ask_servers(&self, settings: &Settings, name: &str, end: Instant) -> io::Result<Vec<IpAddr>> {
        let mut failure = io::Error::other("no name server is configured");
        for _ in 0..settings.attempts {
            for server in &settings.servers {
                match self.ask(SocketAddr::new(*server, self.port), name, end.min(Instant::now() + settings.timeout)) {
                    Ok(found) => return Ok(found),
                    Err(error) => failure = io::Error::new(error.kind(), format!("name server {server}: {error}")),
                }
                if self.cancel.is_cancelled() || Instant::now() >= end {
                    return Err(failure);
                }
            }
        }
        Err(failure)
    }

    /// Asks one server for both kinds of addresses at the same time.
    fn ask(&self, server: SocketAddr, name: &str, end: Instant) -> io::Result<Vec<IpAddr>> {
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Connected, so that answers of others are not even received; the kernel chooses an unpredictable port.
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        let chance = RandomState::new();
        let mut open: Vec<(u16, TYPE)> = vec![];
        for kind in [TYPE::AAAA, TYPE::A] {
            let id = u16::try_from(chance.hash_one(u16::from(kind)) & 0xffff).expect("sixteen bits fit");
            // Two equal numbers could not be told apart.
            let id = if open.iter().any(|(known, _)| *known == id) { id.wrapping_add(1) } else { id };
            socket.send(&query(id, name, kind)?)?;
            open.push((id, kind));
        }
        let (mut v6, mut v4, mut failure) = (Vec::new(), Vec::new(), None);
        let mut buffer = vec![0; 4096];
        while !open.is_empty() {
            let length = match self.receive(&socket, &mut buffer, end) {
                Ok(length) => length,
                // Some servers never answer for the kind of address that they don't know.
                Err(_) if !v6.is_empty() || !v4.is_empty() => break,
                Err(error) => return Err(error),
            };
            let bytes = &buffer[..length];
            let Some(position) = open.iter().position(|(id, _)| bytes.starts_with(&id.to_be_bytes())) else { continue };
            let (id, kind) = open[position];
            let truncated = bytes.get(2).is_some_and(|flags| flags & 2 != 0);
            let answer = if truncated {
                let whole = self.ask_over_tcp(server, &query(id, name, kind)?, end);
                whole.and_then(|bytes| read_answer(&bytes, id, name, kind))
            } else {
                read_answer(bytes, id, name, kind)
            };
            match answer {
                Ok(found) => found.into_iter().for_each(|it| if it.is_ipv4() { v4.push(it) } else { v6.push(it) }),
                // Not an answer to our question: somebody guesses.
                Err(error) if error.kind() == io::ErrorKind::InvalidData && !truncated => continue,
                Err(error) => failure = Some(error),
            }
            open.remove(position);
        }
        match failure {
            Some(error) if v6.is_empty() && v4.is_empty() => Err(error),
            _ => Ok(interleaved(&v6, &v4)),
        }
    }

    fn receive(&self, socket: &UdpSocket, buffer: &mut [u8], end: Instant) -> io::Result<usize> {
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
            }
            if self.cancel.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
            socket.set_read_timeout(Some(rest.min(TICK)))?;
            match socket.recv(buffer) {
                Err(error) if is_wait(&error) => {}
                other => return other,
            }
        }
    }

    /// Asks again, where the answer does not fit into a datagram.
    fn ask_over_tcp(&self, server: SocketAddr, query: &[u8], end: Instant) -> io::Result<Vec<u8>> {
        let rest = |end: Instant| end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut stream = TcpStream::connect_timeout(&server, rest(end).min(Duration::from_secs(1)))?;
        stream.set_write_timeout(Some(rest(end)))?;
        let length = u16::try_from(query.len()).expect("a query has a few hundred bytes");
        stream.write_all(&[&length.to_be_bytes(), query].concat())?;
        let mut length = [0; 2];
        self.read_exact(&mut stream, &mut length, end)?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        self.read_exact(&mut stream, &mut answer, end)?;
        Ok(answer)
    }

    fn read_exact(&self, stream: &mut TcpStream, mut buffer: &mut [u8], end: Instant) -> io::Result<()> {
        while !buffer.is_empty() {
            if Instant::now() >= end || self.cancel.is_cancelled() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
            }
            stream.set_read_timeout(Some(TICK))?;
            match stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn is_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

fn query(id: u16, name: &str, kind: TYPE) -> io::Result<Vec<u8>> {
    let wrong = |error: simple_dns::SimpleDnsError| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(name).map_err(wrong)?, kind.into(), CLASS::IN.into(), false));
    packet.build_bytes_vec().map_err(wrong)
}

/// Returns the addresses in an answer to our question; none, if there is no such name.
///
/// Errors: `InvalidData` if it is an answer to something else; others if the server could not do its work.
fn read_answer(bytes: &[u8], id: u16, name: &str, kind: TYPE) -> io::Result<Vec<IpAddr>> {
    let stranger = || io::Error::new(io::ErrorKind::InvalidData, "its answer is not one to our question");
    let packet = Packet::parse(bytes).map_err(|_| stranger())?;
    let text = |name: &Name<'_>| name.to_string().to_ascii_lowercase();
    let asked = packet
        .questions
        .first()
        .is_some_and(|question| text(&question.qname) == name.trim_end_matches('.') && question.qtype == kind.into());
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !asked {
        return Err(stranger());
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Ok(Vec::new()),
        other => return Err(io::Error::other(format!("it answers {other:?}"))),
    }
    let mut names = vec![name.trim_end_matches('.').to_owned()];
    for _ in 0..limits::DNS_ALIASES_MAX {
        let known = names.len();
        for record in &packet.answers {
            if let RData::CNAME(alias) = &record.rdata
                && names.contains(&text(&record.name))
                && !names.contains(&text(&alias.0))
            {
                names.push(text(&alias.0));
            }
        }
        if names.len() == known {
            break;
        }
    }
    let address = |record: &simple_dns::ResourceRecord<'_>| match &record.rdata {
        RData::A(found) => Some(IpAddr::V4(Ipv4Addr::from_bits(found.address))),
        RData::AAAA(found) => Some(IpAddr::V6(Ipv6Addr::from_bits(found.address))),
        _ => None,
    };
    let ours = packet.answers.iter().filter(|record| names.contains(&text(&record.name)));
    Ok(ours.filter_map(address).collect())
}

fn interleaved(v6: &[IpAddr], v4: &[IpAddr]) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for index in 0..v6.len().max(v4.len()) {
        all.extend(v6.get(index));
        all.extend(v4.get(index));
    }
    all
}

fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|name| name.eq_ignore_ascii_case(host)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// What `resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    dots: usize,
    timeout: Duration,
    attempts: u32,
}

impl Settings {
    fn parse(text: &str) -> Self {
        let (servers, search) = (Vec::new(), Vec::new());
        let mut settings = Self { servers, search, dots: 1, timeout: Duration::from_secs(5), attempts: 2 };
        for line in text.lines() {
            let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
            match words.next() {
                Some("nameserver") => {
                    settings.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                // The last of these lines counts.
                Some("search" | "domain") => {
                    settings.search = words
                        .map(|word| word.trim_end_matches('.').to_ascii_lowercase())
                        .take(limits::DNS_SEARCH_MAX)
                        .collect();
                }
                Some("options") => words.for_each(|word| settings.option(word)),
                _ => {}
            }
        }
        settings.servers.truncate(limits::DNS_SERVERS_MAX);
        if settings.servers.is_empty() {
            settings.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        settings
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(value) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.dots = value.min(15) as usize,
            "timeout" => self.timeout = Duration::from_secs(u64::from(value.clamp(1, 30))),
            "attempts" => self.attempts = value.clamp(1, 5),
            _ => {}
        }
    }

    /// Returns the full names that `host` may mean, in the order to ask for them.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut names: Vec<String> =
            self.search.iter().filter(|domain| !domain.is_empty()).map(|domain| format!("{host}.{domain}")).collect();
        let first = host.matches('.').count() >= self.dots;
        names.insert(if first { 0 } else { names.len() }, host.to_owned());
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, AAAA, CNAME};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("the address is valid")
    }

    #[test]
    fn hosts_files_are_read() {
        let text = "127.0.0.1 localhost\n# 10.0.0.1 x\n10.0.0.2\tother Registry.Example # 10.0.0.3 registry.example\n::5 registry.example\nbad registry.example\n";
        assert_eq!(in_hosts(text, "registry.example"), [ip("10.0.0.2"), ip("::5")]);
        assert_eq!(in_hosts(text, "x"), [] as [IpAddr; 0]);
    }

    #[test]
    fn resolver_settings_are_read() {
        let text = "nameserver 10.0.0.1\nnameserver fe80::1%eth0\n nameserver 9.9.9.9\nsearch a.example b.example.\noptions ndots:2 timeout:1 attempts:3 rotate edns0\n";
        let settings = Settings::parse(text);
        assert_eq!(settings.servers, [ip("10.0.0.1"), ip("9.9.9.9")]);
        assert_eq!((settings.dots, settings.timeout, settings.attempts), (2, Duration::from_secs(1), 3));
        assert_eq!(settings.candidates("x"), ["x.a.example", "x.b.example", "x"]);
        assert_eq!(settings.candidates("x.y.z"), ["x.y.z", "x.y.z.a.example", "x.y.z.b.example"]);
        assert_eq!(settings.candidates("x."), ["x"]);
        assert_eq!(Settings::parse("").servers, [ip("127.0.0.1")]);
    }

    /// A name server for one name, which is an alias of another; it answers `queries` queries.
    fn server(queries: usize, rcode: RCODE) -> (std::thread::JoinHandle<()>, u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let port = socket.local_addr().expect("it is bound").port();
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            for _ in 0..queries {
                let (length, from) = socket.recv_from(&mut buffer).expect("a query comes");
                let query = Packet::parse(&buffer[..length]).expect("the query is valid");
                let question = query.questions[0].clone();
                let mut reply = Packet::new_reply(query.id());
                *reply.rcode_mut() = rcode;
                let alias = Name::new("real.example").expect("the name is valid");
                let of = |name: Name<'static>, data| ResourceRecord::new(name, CLASS::IN, 60, data);
                let asked = question.qname.clone().into_owned();
                reply.answers.push(of(asked, RData::CNAME(CNAME(alias.clone()))));
                let address = if question.qtype == TYPE::A.into() {
                    RData::A(A { address: u32::from(Ipv4Addr::new(10, 0, 0, 9)) })
                } else {
                    RData::AAAA(AAAA { address: 9 })
                };
                reply.answers.push(of(alias, address));
                let stranger = Name::new("other.example").expect("the name is valid");
                reply.answers.push(of(stranger, RData::A(A { address: 1 })));
                reply.questions.push(question);
                // Somebody who guesses comes first, and is not listened to.
                let mut forged = Packet::new_reply(query.id().wrapping_add(7));
                forged.questions = reply.questions.clone();
                for packet in [&forged, &reply] {
                    let bytes = packet.build_bytes_vec().expect("the packet is valid");
                    socket.send_to(&bytes, from).expect("the answer can be sent");
                }
            }
        });
        (thread, port)
    }

    fn resolver(folder: &Path, port: u16) -> Resolver {
        let mut resolver = Resolver::new(folder, Cancel::new(), Duration::from_secs(20), Reach::Everything);
        resolver.port = port;
        resolver
    }

    #[test]
    fn name_servers_are_asked_and_aliases_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("resolv.conf"), "nameserver 127.0.0.1\n").expect("it can be written");
        let (thread, port) = server(2, RCODE::NoError);
        let resolver = resolver(folder.path(), port);
        for _ in 0..2 {
            let found = resolver.remembered("Registry.Example").expect("the server knows it");
            assert_eq!(found, [ip("::9"), ip("10.0.0.9")]);
        }
        thread.join().expect("the server does not panic");
    }

    #[test]
    fn a_missing_name_is_not_asked_for_again() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::write(folder.path().join("resolv.conf"), "nameserver 127.0.0.1\n").expect("it can be written");
        let (thread, port) = server(2, RCODE::NameError);
        let error = resolver(folder.path(), port).addresses("registry.example").expect_err("there is no such name");
        assert!(!error.temporary && error.reason == "there is no such host", "{error:?}");
        thread.join().expect("the server does not panic");
    }

    #[test]
    fn a_failing_server_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let text = "nameserver 127.0.0.1\noptions attempts:1\n";
        std::fs::write(folder.path().join("resolv.conf"), text).expect("it can be written");
        let (thread, port) = server(2, RCODE::ServerFailure);
        let error = resolver(folder.path(), port).addresses("registry.example").expect_err("the server fails");
        assert!(
            error.temporary && error.reason.contains("name server 127.0.0.1: it answers ServerFailure"),
            "{error:?}"
        );
        // The other of its two answers goes nowhere.
        drop(thread);
    }

    #[test]
    fn literals_and_localhost_need_nobody() {
        let resolver = resolver(Path::new("/nonexistent"), 1);
        assert_eq!(resolver.addresses("[::1]").expect("a literal"), [ip("::1")]);
        assert_eq!(resolver.addresses("10.1.2.3").expect("a literal"), [ip("10.1.2.3")]);
        assert_eq!(resolver.addresses("a.localhost").expect("this machine"), [ip("127.0.0.1"), ip("::1")]);
    }

    #[test]
    fn a_wait_for_an_answer_can_be_cancelled() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let silent = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        let resolver = resolver(folder.path(), silent.local_addr().expect("it is bound").port());
        resolver.cancel.cancel();
        assert!(resolver.addresses("registry.example").is_err());
    }

    #[test]
    fn garbage_is_no_answer() {
        for bytes in [&b""[..], b"\0", &[0xff; 600], &[0; 12]] {
            assert!(read_answer(bytes, 0, "x", TYPE::A).is_err());
        }
    }
}
