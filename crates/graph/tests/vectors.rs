//! Keys of fixed operations. A change here silently empties every cache: it needs a new `KEY_SCHEMA`, and then a
//! new file of vectors.

use stave_graph::{
    After, CacheKey, ContextId, Copy, CopySource, Device, Exec, Git, GitSource, GitTime, Graph, Http, Image,
    KEY_SCHEMA, MakeDir, Merge, Mount, MountFlag, MountKind, MountSource, Network, NodeId, Op, Origin, Security,
    Sharing, TreeDigest, Ulimit, Unpack, cache_key, op_digest,
};
use stave_oci::{DiffId, ImageId};

const VECTORS: &str = include_str!("../test_data/vectors/schema-3.txt");

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// A command with every field set to something that is seen.
fn exec(parent: NodeId) -> Exec {
    Exec {
        parent,
        args: strings(&["/bin/sh", "-c", "go build"]),
        env: strings(&["PATH=/bin", "A=ä"]),
        unkeyed_env: strings(&["http_proxy=p"]),
        cwd: "/src".into(),
        user: "build:staff".into(),
        hostname: "buildkitsandbox".into(),
        network: Network::Host,
        wants_host_network: false,
        recorded: false,
        mounts: Vec::new(),
        security: Security::Sandbox,
        hosts: vec![("registry".into(), "10.0.0.1".into())],
        ulimits: vec![Ulimit { name: "nofile".into(), soft: 1024, hard: -1 }],
        shm_bytes: Some(1 << 20),
        devices: vec![Device { name: "vendor.com/gpu=0".into(), required: true }],
        cgroup_parent: Some("builds".into()),
    }
}

/// A mount of each kind.
fn mounts(node: NodeId) -> Vec<Mount> {
    let mount = Mount::new;
    let (mode, uid, gid) = (0o400, 1, 2);
    let cache = |source, sharing| MountKind::Cache {
        id: "go".into(),
        source,
        path: ".".into(),
        writable: true,
        sharing,
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    vec![
        mount("/a", MountKind::Bind { source: MountSource::Tree(node), path: "out".into(), writable: true }),
        mount("/b", cache(MountSource::Empty, Sharing::Locked)),
        mount("/c", cache(MountSource::Tree(node), Sharing::Private)),
        mount("/d", MountKind::Tmpfs { bytes: Some(4096) }),
        mount(
            "/e",
            MountKind::Secret { id: "s".into(), required: true, mode, uid, gid, env: Some("S".into()), file: true },
        ),
        mount("/f", MountKind::Ssh { id: "default".into(), required: false, mode, uid, gid }),
        mount("/dev/pipes/EOF", MountKind::Inline { content: "#!/bin/sh\n".into(), mode: 0o755 }),
    ]
}

/// The operations that only have sources of files, and those that join them.
fn sources(parent: NodeId) -> Vec<(&'static str, Op, Option<TreeDigest>)> {
    let outside = Some(TreeDigest::of(b"files"));
    let git = |keep_git_dir| {
        Op::Git(Git {
            source: GitSource {
                url: "https://user@host.example/a.git".into(),
                reference: Some("main".into()),
                subdir: Some("docs".into()),
                keep_git_dir,
                submodules: true,
                checksum: Some("0123456".into()),
                mtime: GitTime::Commit,
                fetch_by_commit: false,
            },
        })
    };
    let http = Op::Http(Http { url: "http://host.example/f".into(), name: "f".into(), checksum: None });
    vec![
        ("http", http, outside),
        ("git", git(false), outside),
        ("git-kept", git(true), outside),
        ("merge", Op::Merge(Merge { lower: parent, upper: parent }), None),
        ("after", Op::After(After { parent, others: vec![parent, parent] }), None),
    ]
}

/// One operation of each kind, with every field set to something that is seen.
fn operations() -> Vec<(&'static str, Op, Option<TreeDigest>)> {
    let mut graph = Graph::new();
    let parent = graph.add(Op::Scratch, Origin(0));
    let image = Op::Image(Image {
        id: ImageId::of(b"configuration"),
        diff_ids: vec![DiffId::of(b"lower"), DiffId::of(b"upper")],
    });
    let plain = Op::Exec(exec(parent));
    let offline = Op::Exec(Exec { network: Network::None, security: Security::Insecure, ..exec(parent) });
    let mounted = Op::Exec(Exec { mounts: mounts(parent), ..exec(parent) });
    let bind = MountKind::Bind { source: MountSource::Context(ContextId(1)), path: ".".into(), writable: false };
    let bound = Op::Exec(Exec { mounts: vec![Mount::new("/a", bind.clone())], ..exec(parent) });
    let flags = [MountFlag::NoSuid, MountFlag::NoExec, MountFlag::ForUser].into();
    let flagged = Op::Exec(Exec { mounts: vec![Mount { flags, ..Mount::new("/a", bind.clone()) }], ..exec(parent) });
    let flags = [MountFlag::NoDereference].into();
    let linked = Op::Exec(Exec { mounts: vec![Mount { flags, ..Mount::new("/a", bind) }], ..exec(parent) });
    let copy = |sources, unpack, chown: Option<&str>, chmod: Option<&str>| {
        let (chown, chmod) = (chown.map(str::to_owned), chmod.map(str::to_owned));
        Op::Copy(Copy {
            dest_is_dir: unpack != Unpack::No,
            chown,
            chmod,
            unpack,
            ..Copy::new(parent, sources, "/dest")
        })
    };
    let context = |pattern: &str| CopySource::Context { context: ContextId::MAIN, pattern: pattern.to_owned() };
    let tree = CopySource::Tree { node: parent, pattern: "out/*".into() };
    let inline = CopySource::Inline { name: "EOF".into(), content: "text\n".into() };
    let selected = Op::Copy(Copy {
        parents: true,
        excludes: strings(&["*.o", "!a.o"]),
        ..Copy::new(parent, vec![tree.clone()], "/dest")
    });
    let outside = Some(TreeDigest::of(b"files"));
    let mut operations = vec![
        ("scratch", Op::Scratch, None),
        ("image", image, None),
        ("exec", plain, None),
        ("exec-offline", offline, None),
        ("exec-mounts", mounted, None),
        ("exec-context", bound, outside),
        ("exec-flags", flagged, outside),
        ("exec-link", linked, outside),
        ("copy-context", copy(vec![context("a"), context("b")], Unpack::No, None, None), outside),
        ("copy-tree", copy(vec![tree.clone()], Unpack::No, Some("1:2"), Some("4755")), None),
        ("copy-inline", copy(vec![inline], Unpack::No, None, Some("u=rwX,go-w")), None),
        ("copy-selected", selected, None),
        ("add-both", copy(vec![tree, context("a.tar")], Unpack::Local, None, Some("0")), outside),
        ("add-all", copy(vec![context("a.tar")], Unpack::All, None, None), outside),
        ("make-dir", Op::MakeDir(MakeDir { parent, path: "/src".into(), owner: "1".into() }), None),
    ];
    operations.extend(sources(parent));
    operations
}

fn actual() -> String {
    let line = |(name, op, selection): (&str, Op, Option<TreeDigest>)| {
        let inputs: Vec<_> = (1..).map(|n| CacheKey::from_bytes([n; 32])).take(op.inputs().count()).collect();
        let key = cache_key(&op, &inputs, selection.as_ref());
        format!("{name} {key} {}\n", op_digest(&op))
    };
    operations().into_iter().map(line).collect()
}

#[test]
fn keys_are_what_they_have_always_been() {
    assert_eq!(KEY_SCHEMA, 3, "a new schema has its own vectors");
    assert_eq!(actual(), VECTORS, "if this is meant, bump KEY_SCHEMA; it empties every cache");
}

/// The document's worked example, byte by byte, without the encoder.
#[test]
fn the_layout_is_the_documented_one() {
    let mut bytes = Vec::new();
    let text = |bytes: &mut Vec<u8>, text: &[u8]| {
        bytes.extend(u64::try_from(text.len()).expect("short").to_le_bytes());
        bytes.extend(text);
    };
    text(&mut bytes, b"stave.cache-key");
    bytes.extend(3_u32.to_le_bytes());
    bytes.push(4);
    text(&mut bytes, b"/src");
    text(&mut bytes, b"1");
    bytes.extend(1_u64.to_le_bytes());
    text(&mut bytes, &[1; 32]);
    bytes.push(0);
    let mut hasher = stave_oci::Hasher::new();
    hasher.update(&bytes);
    let key = CacheKey::from_bytes(hasher.finish());
    let line = VECTORS.lines().find(|line| line.starts_with("make-dir ")).expect("there is such a vector");
    assert_eq!(line.split(' ').nth(1), Some(key.to_string().as_str()));
}
