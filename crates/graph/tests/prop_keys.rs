//! Laws of graphs and keys.

use std::collections::BTreeMap;

use proptest::prelude::*;
use stave_graph::{
    After, CacheKey, ContextId, Copy, CopySource, Device, Exec, Graph, MakeDir, Merge, Mount, MountKind, MountSource,
    Network, NodeId, Op, Origin, Security, TreeDigest, Ulimit, Unpack, cache_key, op_digest,
};

/// An operation whose inputs are given as numbers that are later taken modulo the nodes there are.
#[derive(Debug, Clone)]
enum Draft {
    MakeDir(usize, String),
    Exec(usize, Vec<String>, Vec<String>, Vec<(Option<usize>, String)>),
    Copy(usize, Vec<(Option<usize>, String)>, bool),
    Merge(usize, usize),
    After(usize, Vec<usize>),
}

fn any_draft() -> impl Strategy<Value = Draft> {
    let word = || "[ab=/]{0,3}";
    let reads = move |least: usize| prop::collection::vec((any::<Option<usize>>(), word()), least..3);
    prop_oneof![
        (any::<usize>(), word()).prop_map(|(parent, path)| Draft::MakeDir(parent, path)),
        (any::<usize>(), prop::collection::vec(word(), 0..3), prop::collection::vec(word(), 0..3), reads(0))
            .prop_map(|(parent, args, env, mounts)| Draft::Exec(parent, args, env, mounts)),
        (any::<usize>(), reads(1), any::<bool>())
            .prop_map(|(parent, sources, unpack)| Draft::Copy(parent, sources, unpack)),
        (any::<usize>(), any::<usize>()).prop_map(|(lower, upper)| Draft::Merge(lower, upper)),
        (any::<usize>(), prop::collection::vec(any::<usize>(), 1..3))
            .prop_map(|(parent, others)| Draft::After(parent, others)),
    ]
}

fn any_drafts() -> impl Strategy<Value = Vec<Draft>> {
    prop::collection::vec(any_draft(), 1..12)
}

fn build(drafts: &[Draft], origin: impl Fn(usize) -> u32) -> (Graph, Vec<NodeId>) {
    let mut graph = Graph::new();
    let mut nodes = vec![graph.add(Op::Scratch, Origin(origin(0)))];
    for (index, draft) in drafts.iter().enumerate() {
        let node = |number: usize| nodes[number % nodes.len()];
        let op = match draft {
            Draft::MakeDir(parent, path) => {
                Op::MakeDir(MakeDir { parent: node(*parent), path: path.clone(), owner: String::new() })
            }
            Draft::Exec(parent, args, env, mounts) => {
                let mount = |(from, path): &(Option<usize>, String)| {
                    let source =
                        from.map_or(MountSource::Context(ContextId::MAIN), |from| MountSource::Tree(node(from)));
                    Mount::new("/m", MountKind::Bind { source, path: path.clone(), writable: false })
                };
                Op::Exec(Exec {
                    env: env.clone(),
                    network: Network::Host,
                    mounts: mounts.iter().map(mount).collect(),
                    ..Exec::new(node(*parent), args.clone())
                })
            }
            Draft::Copy(parent, sources, unpack) => {
                let source = |(from, pattern): &(Option<usize>, String)| match from {
                    None => CopySource::Context { context: ContextId::MAIN, pattern: pattern.clone() },
                    Some(from) => CopySource::Tree { node: node(*from), pattern: pattern.clone() },
                };
                let unpack = if *unpack { Unpack::Local } else { Unpack::No };
                Op::Copy(Copy { unpack, ..Copy::new(node(*parent), sources.iter().map(source).collect(), "/") })
            }
            Draft::Merge(lower, upper) => Op::Merge(Merge { lower: node(*lower), upper: node(*upper) }),
            Draft::After(parent, others) => {
                Op::After(After { parent: node(*parent), others: others.iter().map(|other| node(*other)).collect() })
            }
        };
        nodes.push(graph.add(op, Origin(origin(index))));
    }
    (graph, nodes)
}

/// Keys of all that `target` needs; the context has the same content everywhere.
fn keys(graph: &Graph, target: NodeId) -> BTreeMap<NodeId, CacheKey> {
    let mut keys = BTreeMap::new();
    for node in graph.reachable(target) {
        let op = graph.op(node);
        let inputs: Vec<_> = op.inputs().map(|input| keys[&input]).collect();
        let selection = op.reads_outside().then(|| TreeDigest::of(b"context"));
        keys.insert(node, cache_key(op, &inputs, selection.as_ref()));
    }
    keys
}

proptest! {
    /// Pruning is an optimisation: it may drop nodes, it never changes what the target is.
    #[test]
    fn pruning_keeps_the_target_key(drafts in any_drafts()) {
        let (graph, nodes) = build(&drafts, |_| 0);
        let target = *nodes.last().expect("not empty");
        let (pruned, same) = graph.pruned(target);
        prop_assert_eq!(keys(&graph, target)[&target], keys(&pruned, same)[&same]);
        prop_assert_eq!(pruned.len(), graph.reachable(target).len());
    }

    /// Moving a line changes no key.
    #[test]
    fn keys_ignore_origins(drafts in any_drafts(), shift in any::<u16>()) {
        let (graph, nodes) = build(&drafts, |_| 0);
        let (moved, same) = build(&drafts, |index| u32::try_from(index).expect("few") + u32::from(shift));
        prop_assert_eq!(&nodes, &same);
        let target = *nodes.last().expect("not empty");
        prop_assert_eq!(keys(&graph, target), keys(&moved, target));
    }

    /// Adding everything a second time adds nothing.
    #[test]
    fn equal_operations_are_one_node(drafts in any_drafts()) {
        let (mut graph, nodes) = build(&drafts, |_| 0);
        let before = graph.clone();
        for &node in &nodes {
            prop_assert_eq!(graph.add(before.op(node).clone(), Origin(9)), node);
        }
        prop_assert_eq!(graph, before);
    }

    /// Joining graphs changes no operation and no key, and makes equal operations one node.
    #[test]
    fn absorbing_keeps_keys(first in any_drafts(), second in any_drafts()) {
        let (mut graph, own) = build(&first, |_| 1);
        let (other, theirs) = build(&second, |_| 2);
        let before = own.iter().map(|&node| keys(&graph, node)[&node]).collect::<Vec<_>>();
        let renamed = graph.absorb(&other);
        for (&node, key) in own.iter().zip(before) {
            prop_assert_eq!(keys(&graph, node)[&node], key);
        }
        for &node in &theirs {
            let here = renamed.node(node);
            prop_assert_eq!(keys(&graph, here)[&here], keys(&other, node)[&node]);
            prop_assert_eq!(renamed.earlier(here), Some(node));
        }
        let all = own.iter().copied().chain(theirs.iter().map(|&node| renamed.node(node)));
        prop_assert_eq!(graph.len(), all.collect::<std::collections::BTreeSet<_>>().len());
        let whole = graph.clone();
        graph.absorb(&other);
        prop_assert_eq!(graph, whole);
    }

    /// Different nodes of one graph have different keys: the encoding is unambiguous, inputs included.
    #[test]
    fn different_nodes_have_different_keys(drafts in any_drafts()) {
        let (graph, nodes) = build(&drafts, |_| 0);
        let mut seen = BTreeMap::new();
        for &target in &nodes {
            let key = keys(&graph, target)[&target];
            prop_assert_eq!(*seen.entry(key).or_insert(target), target);
        }
    }

    /// Proxies are not part of a key; everything else that a command sees is.
    #[test]
    fn only_the_unkeyed_environment_changes_no_key(a in "[A-Z]{1,4}=[a-z]{0,4}", b in "[A-Z]{1,4}=[a-z]{0,4}") {
        let mut graph = Graph::new();
        let parent = graph.add(Op::Scratch, Origin(0));
        let exec = |env: &[&String], unkeyed: &[&String]| Op::Exec(Exec {
            env: env.iter().map(|&text| text.clone()).collect(),
            unkeyed_env: unkeyed.iter().map(|&text| text.clone()).collect(),
            ..Exec::new(parent, vec!["/x".into()])
        });
        let key = |op: &Op| cache_key(op, &[CacheKey::from_bytes([0; 32])], None);
        prop_assert_eq!(key(&exec(&[&a], &[])), key(&exec(&[&a], &[&b])));
        prop_assert_eq!(op_digest(&exec(&[&a], &[])), op_digest(&exec(&[&a], &[&b])));
        prop_assert_ne!(key(&exec(&[&a], &[])), key(&exec(&[&a, &b], &[])));
    }

    /// The instruction stays the same when its inputs change.
    #[test]
    fn op_digests_ignore_inputs(path in "/[a-z]{1,5}") {
        let mut graph = Graph::new();
        let one = graph.add(Op::Scratch, Origin(0));
        let dir = |parent, path: &str| Op::MakeDir(MakeDir { parent, path: path.into(), owner: String::new() });
        let two = graph.add(dir(one, "/x/y"), Origin(0));
        prop_assert_eq!(op_digest(&dir(one, &path)), op_digest(&dir(two, &path)));
    }
}

/// A124: what a command sees is in its key, and what only says how to reach something is not.
#[test]
fn the_key_of_a_command_has_what_it_sees() {
    let mut graph = Graph::new();
    let scratch = graph.add(Op::Scratch, Origin(0));
    let other = graph.add(Op::MakeDir(MakeDir { parent: scratch, path: "/a".into(), owner: String::new() }), Origin(0));
    let exec = || Exec::new(scratch, vec!["true".into()]);
    let secret = |id: &str| {
        let kind =
            MountKind::Secret { id: id.into(), required: false, mode: 0o400, uid: 0, gid: 0, env: None, file: true };
        vec![Mount::new("/s", kind)]
    };
    let ulimit = Ulimit { name: "nofile".into(), soft: 1, hard: 2 };
    let seen: Vec<(&str, Exec)> = vec![
        ("arguments", Exec { args: vec!["false".into()], ..exec() }),
        ("environment", Exec { env: vec!["A=1".into()], ..exec() }),
        ("directory", Exec { cwd: "/a".into(), ..exec() }),
        ("user", Exec { user: "1".into(), ..exec() }),
        ("host name", Exec { hostname: "h".into(), ..exec() }),
        ("names of hosts", Exec { hosts: vec![("h".into(), "10.0.0.1".into())], ..exec() }),
        ("limits", Exec { ulimits: vec![ulimit], ..exec() }),
        ("cgroup", Exec { cgroup_parent: Some("c".into()), ..exec() }),
        ("shared memory", Exec { shm_bytes: Some(1), ..exec() }),
        ("network", Exec { network: Network::Host, ..exec() }),
        ("a recorded network", Exec { network: Network::Host, recorded: true, ..exec() }),
        (
            "a recorded network with this machine",
            Exec { network: Network::Host, recorded: true, wants_host_network: true, ..exec() },
        ),
        ("security", Exec { security: Security::Insecure, ..exec() }),
        ("devices", Exec { devices: vec![Device { name: "v.com/c=1".into(), required: false }], ..exec() }),
        ("secrets by name", Exec { mounts: secret("s"), ..exec() }),
        ("other secrets", Exec { mounts: secret("t"), ..exec() }),
        ("nothing else", exec()),
    ];
    let key = |exec: &Exec, parent: u8| cache_key(&Op::Exec(exec.clone()), &[CacheKey::from_bytes([parent; 32])], None);
    for (index, (name, exec)) in seen.iter().enumerate() {
        for (another, other) in &seen[index + 1..] {
            assert_ne!(key(exec, 1), key(other, 1), "{name} and {another}");
        }
        assert_ne!(key(exec, 1), key(exec, 2), "{name}: the parent");
    }
    let hosts = |address: &str| Exec { hosts: vec![("h".into(), address.into())], ..exec() };
    assert_eq!(key(&hosts("10.0.0.1"), 1), key(&hosts("10.0.0.2"), 1));
    let unseen = Exec { unkeyed_env: vec!["http_proxy=p".into()], wants_host_network: true, ..exec() };
    assert_eq!(key(&unseen, 1), key(&exec(), 1));
    let elsewhere = Exec { parent: other, ..exec() };
    assert_eq!(key(&elsewhere, 1), key(&exec(), 1), "a node's number is none of its content");
}
