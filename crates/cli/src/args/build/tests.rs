//! What the options of `build` become, and that every option of other builders is answered.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proptest::prelude::*;
use stave_engine::{Annotations, Entitlement, FileTimes, LayerMethod, Regroup};

use super::elsewhere::{Row, Takes, Values};
use super::table::TABLE;
use super::value::{ContextPlace, bytes, truth, ulimit};
use super::*;

fn error<T: FromStr<Err = String> + std::fmt::Debug>(text: &str) -> String {
    text.parse::<T>().expect_err("it is wrong")
}

#[test]
fn outputs_are_read_as_buildx_reads_them() {
    let output = |text: &str| text.parse::<OutputArg>().map(|output| (output.kind, output.dest));
    let to = |kind: OutputKind, dest: &str| Ok((kind, Some(PathBuf::from(dest))));
    assert_eq!(output("type=oci,dest=a.tar"), to(OutputKind::Oci, "a.tar"));
    assert_eq!(
        output("dest=\"a,b\",type=tar"),
        Err("a bare `\"` in `dest=\"a,b\",type=tar`: quote the whole field, like `\"dest=a,b\"`".to_owned())
    );
    assert_eq!(output("\"dest=a,b\",type=tar"), to(OutputKind::Tar, "a,b"));
    assert_eq!(output("out"), to(OutputKind::Local, "out"));
    assert_eq!(output("-"), to(OutputKind::Tar, "-"));
    assert_eq!(output("type=oci"), to(OutputKind::Oci, "-"));
    assert_eq!(output("TYPE=oci,tar=1,compression=gzip,dest=x"), to(OutputKind::Oci, "x"));
    assert_eq!(output("type=docker"), Ok((OutputKind::Docker, None)));
    assert_eq!(output("type=cacheonly"), Ok((OutputKind::CacheOnly, None)));
    for text in ["type=local", "type=local,dest=-", "type=x", "dest=x", "type=oci,push=true", "", "type=oci,=x"] {
        assert!(output(text).is_err(), "{text}");
    }
    assert_eq!(output("type=oci,tar=false,dest=d"), to(OutputKind::Oci, "d"));
}

#[test]
fn every_field_of_an_output_is_read() {
    let output = |text: &str| text.parse::<OutputArg>().expect(text);
    let form = |text: &str| output(text).form(CompressionArg::default(), &Annotations::default()).expect(text);
    for (text, method) in [
        ("type=oci", LayerMethod::Gzip(6)),
        ("type=docker", LayerMethod::Plain),
        ("type=docker,compression-level=1", LayerMethod::Gzip(1)),
        ("type=image,compression=gzip,compression-level=0", LayerMethod::Gzip(0)),
        ("type=registry,compression=zstd", LayerMethod::Zstd(3)),
        ("type=oci,compression=zstd,compression-level=0", LayerMethod::Zstd(3)),
        ("type=oci,compression-level=22,compression=zstd", LayerMethod::Zstd(22)),
        ("type=oci,compression=estargz,compression-level=9", LayerMethod::Estargz(9)),
        ("type=oci,compression=uncompressed", LayerMethod::Plain),
    ] {
        assert_eq!(form(text).layers, method, "{text}");
    }
    let all = form("type=oci,force-compression=1,oci-mediatypes=false,prefer-nondist-layers=true,squash=all");
    assert!(all.force && all.docker_types && all.keep_foreign && all.regroup == Some(Regroup::All));
    assert_eq!(form("type=oci,layer-max-size=1g").regroup, Some(Regroup::UpTo(1 << 30)));
    assert_eq!(form("type=oci,annotation-index.org.X=a").annotations.0[0].key, "org.X");
    let names =
        output("type=image,\"name=*,a\",name-canonical=1,dangling-name-prefix=d,danging-name-empty-only=1").names;
    assert!(names.with_tags && names.canonical && names.dangling_only && names.dangling.is_some());
    assert!(
        output("type=registry,push-by-digest=true").by_digest && output("type=image,store=false").store == Some(false)
    );
    let local = output("type=local,dest=d,platform-split=false,mode=delete,source-date-epoch=");
    assert_eq!((local.split, local.delete, local.times), (Some(false), true, FileTimes::Kept));
    assert_eq!(output("type=tar,source-date-epoch=7").times, FileTimes::UpTo(7));
    let dated = output("type=tar,source-date-epoch=context");
    assert_eq!((dated.times, dated.epoch.as_deref()), (FileTimes::OfBuild, Some("context")));
    assert_eq!(output("type=docker,context=other").context.as_deref(), Some("other"));
    let options = CompressionArg { algorithm: Some(Algorithm::Zstd), level: Some(9), force: None };
    let of = |text: &str| output(text).form(options, &Annotations::default()).expect(text).layers;
    assert_eq!(of("type=oci"), LayerMethod::Zstd(9));
    assert_eq!(of("type=oci,compression=gzip"), LayerMethod::Gzip(6), "a level belongs to its compression");
}

/// T208
#[test]
fn what_contradicts_itself_or_is_not_there_is_refused_by_name() {
    for (text, why) in [
        ("type=oci,compression=zstd,oci-mediatypes=false", "`compression=zstd` needs OCI's types: leave"),
        ("type=oci,compression=estargz,oci-mediatypes=false", "`compression=estargz` needs OCI's types: leave"),
        ("type=oci,annotation.k=v,oci-mediatypes=false", "an annotation needs OCI's types: leave"),
        ("type=oci,compression=lz4", "no compression is named `lz4`"),
        ("type=oci,compression=nydus", "`nydus` is not written by stave"),
        ("type=oci,compression=zstd:chunked", "`zstd:chunked` is not written by stave"),
        ("type=oci,compression=gzip,compression-level=10", "gzip has the levels 0 to 9"),
        ("type=oci,compression=zstd,compression-level=23", "zstd has the levels 0 to 22"),
        ("type=oci,compression=uncompressed,compression-level=1", "has no levels"),
        ("type=oci,compression-level=x", "expected a number"),
        ("type=docker,tar=false", "`docker load` reads a tar"),
        ("type=oci,tar=false", "needs `dest=DIRECTORY`"),
        ("type=docker,context=x,dest=y", "give one of them"),
        ("type=image,push-by-digest=true", "add `push=true`"),
        ("type=image,squash=new", "joined by `--squash`"),
        ("type=oci,squash=some", "expected `new`, `all` or `false`"),
        ("type=oci,layer-max-size=big", "is no size"),
        ("type=local,dest=d,mode=move", "expected `copy` or `delete`"),
        ("type=tar,source-date-epoch=1.5", "expected a number of seconds since 1970, or what has a time: `context`"),
        ("type=tar,source-date-epoch=9999999999999", "this is after the year 9999"),
        ("type=local,dest=d,source-date-epoch=-99999999999999999999", "or before -9999"),
        ("type=oci,encryption-key=x", "layers are not encrypted"),
        ("type=oci,sign-by=x", "images are not signed"),
        ("type=oci,cw=x", "confidential machines"),
        ("type=oci,compatibility-version=20", "does not depend on another builder's version"),
        ("type=oci,buildinfo=true", "BuildKit has removed it"),
        ("type=image,registry.insecure=true", "add `push=true`"),
        ("type=oci,push=true", "`type=oci` has no field `push`"),
        ("type=local,dest=d,compression=gzip", "`type=local` has no field `compression`"),
        ("type=oci,annotation-manifest[x.k=v", "has no key"),
    ] {
        let error = error::<OutputArg>(text);
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn images_are_pushed_where_the_output_says_so() {
    let output = |text: &str| text.parse::<OutputArg>().expect(text);
    let registry = output("type=registry,\"name=a,b:2\"");
    let names: Vec<String> = registry.names.names.iter().map(ToString::to_string).collect();
    assert_eq!((registry.push, names.join(" ").as_str()), (true, "docker.io/library/a:latest docker.io/library/b:2"));
    assert!(output("type=image,push=true").push && !output("type=image").push);
    assert!(!output("type=registry,push=false").push);
    assert_eq!(error::<OutputArg>("type=image,push=maybe"), "`push=maybe` is neither true nor false");
}

#[test]
fn a_host_has_one_address_or_several() {
    let host = |text: &str| {
        let host: HostArg = text.parse().expect(text);
        let addresses: Vec<String> = host.addresses.iter().map(ToString::to_string).collect();
        format!("{} {}", host.name, addresses.join(" "))
    };
    assert_eq!(host("a:10.0.0.1"), "a 10.0.0.1");
    assert_eq!(host("a=10.0.0.1"), "a 10.0.0.1");
    assert_eq!(host("a:::1"), "a ::1");
    assert_eq!(host("a=[::1]"), "a ::1");
    assert_eq!(host("a.example:[fe80::2],10.0.0.2"), "a.example fe80::2 10.0.0.2");
    assert_eq!(host("up:host-gateway"), "up 127.0.0.1");
    assert_eq!(error::<HostArg>("a"), "expected `NAME:ADDRESS` or `NAME=ADDRESS`");
    assert_eq!(error::<HostArg>("a:b"), "`b` is no address: expected IPv4, IPv6 or `host-gateway`");
    assert_eq!(error::<HostArg>("=::1"), "`` is no host name");
    // What would become a line of its own in `/etc/hosts`.
    for text in ["a b=10.0.0.1", "a\n10.0.0.2 b=10.0.0.1", "a#=10.0.0.1", "a:b=10.0.0.1", "a=", "a=10.0.0.1,"] {
        assert!(text.parse::<HostArg>().is_err(), "{text:?}");
    }
}

#[test]
fn limits_are_soft_and_hard() {
    let limit = |text: &str| ulimit(text).map(|limit| (limit.name, limit.soft, limit.hard));
    assert_eq!(limit("nofile=1062"), Ok(("nofile".to_owned(), 1062, 1062)));
    assert_eq!(limit("nproc=10:20"), Ok(("nproc".to_owned(), 10, 20)));
    assert_eq!(limit("core=-1"), Ok(("core".to_owned(), -1, -1)));
    assert_eq!(limit("stack=8:-1"), Ok(("stack".to_owned(), 8, -1)));
    assert_eq!(limit("nofile=20:10"), Err("the soft limit 20 is above the hard limit 10".to_owned()));
    assert_eq!(limit("nofile=-1:10"), Err("the soft limit -1 is above the hard limit 10".to_owned()));
    assert_eq!(limit("nofile=x"), Err("`x` is no limit: expected a number, or -1 for none".to_owned()));
    assert!(limit("nofiles=1").expect_err("no such limit").starts_with("no limit is named `nofiles`: expected one of"));
    for text in ["nofile", "=1", "nofile=", "nofile=1:2:3", "nofile=-2", "NOFILE=1"] {
        assert!(limit(text).is_err(), "{text}");
    }
}

#[test]
fn sizes_have_units_of_1024() {
    for (text, expected) in [
        ("0", 0),
        ("65536", 65_536),
        ("1b", 1),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("1.5g", 3 << 29),
        ("128MiB", 128 << 20),
        ("128mb", 128 << 20),
        ("2 k", 2048),
        ("0.5k", 512),
    ] {
        assert_eq!(bytes(text), Ok(expected), "{text}");
    }
    for text in ["", "m", "1.g", ".5g", "1.2.3", "-1", "1x", "1ib", "18446744073709551616", "20000000p", "1e3", "1m2"] {
        assert!(bytes(text).is_err(), "{text}");
    }
}

/// B019
#[test]
fn a_secret_is_in_a_file_or_in_a_variable() {
    let secret = |text: &str| text.parse::<SecretArg>().map(|secret| (secret.id, secret.place));
    let file = |path: &str| Ok(("a".to_owned(), SecretPlace::File(path.into())));
    let variable = |name: &str| Ok(("a".to_owned(), SecretPlace::Variable(name.to_owned())));
    assert_eq!(secret("id=a,src=f"), file("f"));
    assert_eq!(secret("type=file,id=a,source=f"), file("f"));
    assert_eq!(secret("type=file,id=a"), file("a"));
    assert_eq!(secret("\"src=f,g\",id=a"), file("f,g"));
    assert_eq!(secret("id=a,env=V"), variable("V"));
    assert_eq!(secret("type=env,id=a,src=V"), variable("V"));
    assert_eq!(secret("type=env,id=a"), variable("a"));
    assert_eq!(secret("id=a"), Ok(("a".to_owned(), SecretPlace::Anywhere)));
    for (text, message) in [
        ("src=f", "the secret has no `id=`"),
        ("id=,src=f", "the secret has no `id=`"),
        ("a", "`a` is no `KEY=VALUE`"),
        ("id=a,type=x", "no secret is of type `x`: expected `file` or `env`"),
        ("id=a,dst=x", "secrets have no `dst`: expected `id`, `src`, `env` or `type`"),
        ("id=a,src=f,env=V", "a secret is in a file (`src=`) or in a variable (`env=`)"),
        ("id=a,type=file,env=V", "a secret of type `file` has no `env=`"),
    ] {
        assert_eq!(secret(text), Err(message.to_owned()), "{text}");
    }
}

/// B020
#[test]
fn an_agent_is_a_socket_or_keys() {
    let ssh = |text: &str| text.parse::<SshArg>().map(|ssh| (ssh.id, ssh.paths));
    let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(ssh("default"), Ok(("default".to_owned(), Vec::new())));
    assert_eq!(ssh("default="), Ok(("default".to_owned(), Vec::new())));
    assert_eq!(ssh("git=/a,/b"), Ok(("git".to_owned(), paths(&["/a", "/b"]))));
    assert!(ssh("=x").is_err() && ssh("").is_err() && ssh("a=b,").is_err());
}

#[test]
fn named_contexts_say_what_they_are() {
    let context = |text: &str| text.parse::<ContextArg>().map(|context| (context.name, context.place));
    for (text, place) in [
        ("a=docker-image://alpine", ContextPlace::Image("alpine".to_owned())),
        ("a=container-image://alpine", ContextPlace::Image("alpine".to_owned())),
        ("a=oci-layout://dir:tag", ContextPlace::Layout("dir:tag".to_owned())),
        ("a=target:build", ContextPlace::Stage("build".to_owned())),
        ("a=https://example.com/x.git", ContextPlace::Remote("https://example.com/x.git".to_owned())),
        ("a=../dir", ContextPlace::Directory("../dir".into())),
    ] {
        assert_eq!(context(text), Ok(("a".to_owned(), place)), "{text}");
    }
    assert!(context("a").is_err() && context("=b").is_err() && context("a=").is_err());
}

#[test]
fn what_is_allowed_is_one_of_five() {
    assert_eq!("network.host".parse(), Ok(AllowArg::Step(Entitlement::NetworkHost)));
    assert_eq!("security.insecure".parse(), Ok(AllowArg::Step(Entitlement::SecurityInsecure)));
    let one = Entitlement::OneDevice("vendor.com/a=b".to_owned());
    assert_eq!("device=vendor.com/a=b".parse(), Ok(AllowArg::Step(one)));
    assert_eq!("buildx.local.delete".parse(), Ok(AllowArg::LocalDelete));
    assert!(error::<AllowArg>("device=").contains("names no device"));
    assert!(error::<AllowArg>("fs.read").contains("expected `security.insecure`"));
}

/// Whatever is in the table answers, and every option of it has one meaning only.
#[test]
fn every_row_of_the_table_ends_in_an_answer_for_any_value() {
    let mut seen = BTreeSet::new();
    for row in TABLE {
        assert!(matches!(row.answers.last(), Some((Values::Any, _))), "{:?}", row.flags);
        assert!(
            row.answers[..row.answers.len() - 1].iter().all(|(values, _)| *values != Values::Any),
            "{:?}",
            row.flags
        );
        if let (Takes::Value(example), Some((_, last))) = (row.takes, row.answers.last()) {
            assert_eq!(row.answer(example), *last, "{:?}", row.flags);
        }
        for name in row.flags.iter().flat_map(|names| names.split(' ')) {
            assert!(seen.insert(name), "`{name}` is there twice");
        }
    }
}

/// The values of an answer as the page shows them, and as its test tries them.
fn values(row: &Row, at: usize) -> String {
    let list = |values: &[&str]| {
        let shown = values.iter().map(|value| if value.is_empty() { "empty".to_owned() } else { format!("`{value}`") });
        shown.collect::<Vec<_>>().join(", ")
    };
    match (row.answers[at].0, row.takes) {
        (Values::Of(values), _) => list(values),
        (Values::Like(start), _) => format!("`{start}`..."),
        (Values::Any, Takes::Value(example)) if at == 0 => format!("any, as `{example}`"),
        (Values::Any, Takes::Value(example)) => format!("any other, as `{example}`"),
        (Values::Any, Takes::Nothing) if at == 0 => "given".to_owned(),
        (Values::Any, Takes::Nothing) => match row.answers[0].0 {
            Values::Of(&["true"]) => "`false`".to_owned(),
            _ => "`true`".to_owned(),
        },
    }
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/build-options.md")
}

#[test]
fn the_page_of_options_has_every_row_of_the_table() {
    let mut table = String::from("| option | value | what stave does | features |\n| --- | --- | --- | --- |\n");
    for row in TABLE {
        let names: Vec<String> =
            row.flags.iter().flat_map(|names| names.split(' ')).map(|name| format!("`{name}`")).collect();
        for (at, (_, answer)) in row.answers.iter().enumerate() {
            let answer = match answer {
                Answer::So(why) => format!("so anyway: {why}"),
                Answer::Note(why) => format!("note: {why}"),
                Answer::Refused(hint) => format!("refused: {hint}"),
                Answer::NotYet(hint) => format!("not yet: {hint}"),
            };
            writeln!(table, "| {} | {} | {answer} | {} |", names.join(", "), values(row, at), row.features)
                .expect("writing to a string does not fail");
        }
    }
    let text = fs::read_to_string(page()).expect("the page is there");
    let begin = text.find("<!-- table").and_then(|at| text[at..].find('\n').map(|end| at + end + 1));
    let (begin, end) = begin.zip(text.find("<!-- end of table -->")).expect("the page has a place for the table");
    let wanted = format!("{}{table}{}", &text[..begin], &text[end..]);
    if std::env::var_os("BLESS").is_some() {
        fs::write(page(), &wanted).expect("a writable repository");
    } else {
        assert!(text == wanted, "`{}` is out of date: run this test with BLESS=1", page().display());
    }
}

#[test]
fn switches_are_read_as_go_reads_them() {
    assert!(truth("T").is_some_and(|truth| truth) && truth("0").is_some_and(|truth| !truth));
    assert_eq!(truth("yes"), None);
}

/// Any text, with many of the characters that mean something.
fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just(','),
            Just('='),
            Just('"'),
            Just(':'),
            Just('['),
            Just(']'),
            Just('\n'),
            Just('.'),
            any::<char>()
        ],
        0..12,
    )
    .prop_map(String::from_iter)
}

proptest! {
    /// Whatever a field holds, quoting brings it through.
    #[test]
    fn quoted_fields_come_back_as_they_were(fields in proptest::collection::vec(any_text(), 1..5)) {
        let line: Vec<String> = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
        prop_assert_eq!(csv::fields(&line.join(",")), Ok(fields));
    }

    /// No text makes a parser panic, and none that is taken for a host could be another line of a hosts file.
    #[test]
    fn any_text_is_a_value_or_a_mistake(text in any_text()) {
        for line in [text.clone(), format!("a{text}=::1"), format!("a={text}")] {
            if let Ok(host) = line.parse::<HostArg>() {
                prop_assert!(!host.name.is_empty() && !host.addresses.is_empty());
                prop_assert!(!host.name.contains(|character: char| character.is_whitespace() || character == '#'));
            }
        }
        if let Ok(secret) = format!("id={text}").parse::<SecretArg>() {
            prop_assert!(!secret.id.is_empty());
        }
        if let Ok(ssh) = text.parse::<SshArg>() {
            prop_assert!(!ssh.id.is_empty() && ssh.paths.iter().all(|path| !path.as_os_str().is_empty()));
        }
        if let Ok(context) = text.parse::<ContextArg>() {
            prop_assert!(!context.name.is_empty());
        }
        if let Ok(output) = format!("type=oci,{text}").parse::<OutputArg>() {
            prop_assert!(output.dest.is_some());
        }
        prop_assert!(bytes(&text).is_err() || text.starts_with(|first: char| first.is_ascii_digit()));
        prop_assert!(ulimit(&text).is_err());
    }

    /// A size is what its digits and its unit say.
    #[test]
    fn sizes_are_multiples_of_their_unit(number in 0_u64..1 << 20, unit in 0_u32..5) {
        let name = ["b", "k", "m", "g", "t"][unit as usize];
        prop_assert_eq!(bytes(&format!("{number}{name}")), Ok(number << (10 * unit)));
    }

    /// A limit is written and read the same way.
    #[test]
    fn limits_are_read_as_they_are_written(soft in -1_i64..1 << 40, hard in -1_i64..1 << 40) {
        let limit = ulimit(&format!("nofile={soft}:{hard}"));
        let fits = hard == -1 || (soft != -1 && soft <= hard);
        prop_assert_eq!(limit.is_ok(), fits);
        let read = limit.map(|limit| (limit.soft, limit.hard));
        prop_assert!(read.is_err() || read == Ok((soft, hard)));
    }
}
