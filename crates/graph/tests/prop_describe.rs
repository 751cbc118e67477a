//! What is described of an operation is what its key is made from.

use proptest::prelude::*;
use stave_graph::{
    Copy, CopySource, Device, Exec, Graph, MakeDir, Mount, MountFlag, MountKind, MountSource, Network, NodeId, Op,
    Origin, Security, Sharing, Ulimit, Unpack, describe, op_digest,
};

fn node() -> NodeId {
    Graph::new().add(Op::Scratch, Origin(0))
}

fn any_mount() -> impl Strategy<Value = Mount> {
    let file = || (0_u32..2, 0_u32..2, 0_u32..2);
    let source = || prop_oneof![Just(MountSource::Empty), Just(MountSource::Tree(node()))];
    let sharing = prop_oneof![Just(Sharing::Shared), Just(Sharing::Private), Just(Sharing::Locked)];
    let kind = prop_oneof![
        (source(), "[a.]", any::<bool>()).prop_map(|(source, path, writable)| MountKind::Bind {
            source,
            path,
            writable
        }),
        ("[ab]", source(), "[a.]", any::<bool>(), sharing, file()).prop_map(
            |(id, source, path, writable, sharing, (mode, uid, gid))| MountKind::Cache {
                id,
                source,
                path,
                writable,
                sharing,
                mode,
                uid,
                gid
            }
        ),
        prop::option::of(0_u64..3).prop_map(|bytes| MountKind::Tmpfs { bytes }),
        ("[ab]", any::<bool>(), file(), prop::option::of("[AB]"), any::<bool>()).prop_map(
            |(id, required, (mode, uid, gid), env, file)| MountKind::Secret { id, required, mode, uid, gid, env, file }
        ),
        ("[ab]", any::<bool>(), file()).prop_map(|(id, required, (mode, uid, gid))| MountKind::Ssh {
            id,
            required,
            mode,
            uid,
            gid
        }),
        ("[ab]{0,2}", 0_u32..2).prop_map(|(content, mode)| MountKind::Inline { content, mode }),
    ];
    let flag = prop_oneof![
        Just(MountFlag::NoSuid),
        Just(MountFlag::NoExec),
        Just(MountFlag::ForUser),
        Just(MountFlag::NoDereference)
    ];
    let flags = prop::collection::btree_set(flag, 0..3);
    ("/[ab]", flags, kind).prop_map(|(target, flags, kind)| Mount { target, flags, kind })
}

fn any_exec() -> impl Strategy<Value = Op> {
    let words = prop::collection::vec("[a\" ]{0,2}", 0..3);
    let args = prop_oneof![words, "[a\\[\"]{1,4}".prop_map(|text| vec!["/bin/sh".into(), "-c".into(), text])];
    let rest = (
        prop::option::of(0_u64..2),
        prop::collection::vec(("[ab]", any::<bool>()), 0..2),
        prop::option::of("[ab]"),
        prop::collection::vec(("[ab]", 0_i64..2, 0_i64..2), 0..2),
    );
    (args, "/[ab]?", "[ab]?", any::<bool>(), any::<bool>(), prop::collection::vec(any_mount(), 0..2), rest).prop_map(
        |(args, cwd, user, host, insecure, mounts, (shm_bytes, devices, cgroup_parent, ulimits))| {
            Op::Exec(Exec {
                cwd,
                user,
                network: if host { Network::Host } else { Network::None },
                security: if insecure { Security::Insecure } else { Security::Sandbox },
                mounts,
                shm_bytes,
                cgroup_parent,
                devices: devices.into_iter().map(|(name, required)| Device { name, required }).collect(),
                ulimits: ulimits.into_iter().map(|(name, soft, hard)| Ulimit { name, soft, hard }).collect(),
                ..Exec::new(node(), args)
            })
        },
    )
}

fn any_copy() -> impl Strategy<Value = Op> {
    let source = prop_oneof![
        "[ab]".prop_map(|pattern| CopySource::Tree { node: node(), pattern }),
        ("[ab]", "[ab]{0,2}").prop_map(|(name, content)| CopySource::Inline { name, content }),
    ];
    let unpack = prop_oneof![Just(Unpack::No), Just(Unpack::Local), Just(Unpack::All)];
    let sources = prop::collection::vec(source, 1..3);
    let text = || prop::option::of("[01]");
    let excludes = prop::collection::vec("[ab]", 0..2);
    (sources, "/[ab]", any::<bool>(), text(), text(), unpack, any::<bool>(), excludes).prop_map(
        |(sources, dest, dest_is_dir, chown, chmod, unpack, parents, excludes)| {
            let copy = Copy::new(node(), sources, &dest);
            Op::Copy(Copy { dest_is_dir, chown, chmod, unpack, parents, excludes, ..copy })
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    let make_dir = ("/[ab]", "[ab]?").prop_map(|(path, owner)| Op::MakeDir(MakeDir { parent: node(), path, owner }));
    prop_oneof![4 => any_exec(), 3 => any_copy(), 1 => make_dir, 1 => Just(Op::Scratch)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever makes a key another one has a name.
    #[test]
    fn operations_are_described_alike_exactly_if_they_are_the_same(one in any_op(), other in any_op()) {
        prop_assert_eq!(describe(&one) == describe(&other), op_digest(&one) == op_digest(&other), "{:?} {:?}", one, other);
    }
}
