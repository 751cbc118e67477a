//! Keys of fixed operations. A change here silently empties every cache: it needs a new `KEY_SCHEMA`, and then a
//! new file of vectors.

use stave_graph::{
    CacheKey, Copy, CopySource, Exec, Graph, Image, KEY_SCHEMA, MakeDir, Network, Op, Origin, TreeDigest, cache_key,
    op_digest,
};
use stave_oci::{DiffId, ImageId};

const VECTORS: &str = include_str!("../test_data/vectors/schema-1.txt");

/// One operation of each kind, with every field set to something that is seen.
fn operations() -> Vec<(&'static str, Op, Option<TreeDigest>)> {
    let mut graph = Graph::new();
    let parent = graph.add(Op::Scratch, Origin(0));
    let strings = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let image = Op::Image(Image {
        id: ImageId::of(b"configuration"),
        diff_ids: vec![DiffId::of(b"lower"), DiffId::of(b"upper")],
    });
    let exec = Op::Exec(Exec {
        parent,
        args: strings(&["/bin/sh", "-c", "go build"]),
        env: strings(&["PATH=/bin", "A=ä"]),
        unkeyed_env: strings(&["http_proxy=p"]),
        cwd: "/src".into(),
        user: "build:staff".into(),
        hostname: "buildkitsandbox".into(),
        network: Network::Host,
    });
    let Op::Exec(offline) = exec.clone() else { unreachable!("it was just made") };
    let offline = Op::Exec(Exec { network: Network::None, ..offline });
    let copy = |sources, unpack, chown: Option<&str>, chmod| {
        let (dest, chown) = ("/dest".to_owned(), chown.map(str::to_owned));
        Op::Copy(Copy { parent, sources, dest, dest_is_dir: unpack, chown, chmod, unpack })
    };
    let context = |pattern: &str| CopySource::Context { pattern: pattern.to_owned() };
    let tree = CopySource::Tree { node: parent, pattern: "out/*".into() };
    let selection = Some(TreeDigest::of(b"files"));
    vec![
        ("scratch", Op::Scratch, None),
        ("image", image, None),
        ("exec", exec, None),
        ("exec-offline", offline, None),
        ("copy-context", copy(vec![context("a"), context("b")], false, None, None), selection),
        ("copy-tree", copy(vec![tree.clone()], false, Some("1:2"), Some(0o4755)), None),
        ("add-both", copy(vec![tree, context("a.tar")], true, None, Some(0)), selection),
        ("make-dir", Op::MakeDir(MakeDir { parent, path: "/src".into(), owner: "1".into() }), None),
    ]
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
    assert_eq!(KEY_SCHEMA, 1, "a new schema has its own vectors");
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
    bytes.extend(1_u32.to_le_bytes());
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
