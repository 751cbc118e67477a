//! What a step sees and may do (security test A11).

use serde_json::json;

use crate::support::{Builder, as_builder, each_builder, one_call};

/// Prints what a step is, in a form that is the same on every machine.
const AUDIT: &str = r#"
grep -E '^(Uid|Gid|Groups|CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Umask):' /proc/self/status
echo "pid $$ in $(pwd) on $(hostname)"
env | grep -v -E '^(PWD|SHLVL|_|OLDPWD)=' | busybox sort
cat /etc/hosts /etc/resolv.conf
busybox stat -c '%n %a %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty
busybox stat -c '%N' /dev/ptmx /dev/fd /dev/stdin /dev/stdout /dev/stderr
busybox stat -c '%n %a' /dev /dev/shm /dev/pts/ptmx
while read -r number parent device root target options rest; do
  case $target in /|/proc|/dev|/dev/pts|/dev/shm|/dev/mqueue|/sys|/proc/sys|/proc/fs|/proc/irq|/etc/hosts|/etc/resolv.conf)
    echo "$target ${rest#*- }" | { read -r where kind source more; echo "$where $kind $options"; };; esac
done < /proc/self/mountinfo
refused() { "$@" >/dev/null 2>&1 && echo "NOT REFUSED: $*" || echo "refused: $*"; }
refused busybox unshare -U true
refused busybox unshare -m true
refused busybox mount -t tmpfs none /root
refused busybox umount /proc
refused busybox sh -c 'echo x > /proc/sys/kernel/core_pattern'
refused busybox sh -c 'echo x > /sys/kernel/profiling'
refused busybox sh -c 'echo x > /etc/hosts'
refused busybox mount -o remount,rw /sys
refused busybox sh -c 'busybox mknod /disk b 254 0 && head -c 1 /disk'
refused busybox sh -c 'busybox mknod /dev/disk b 254 0 && head -c 1 /dev/disk'
refused busybox hostname other
refused busybox chroot /proc/1/root/.. /bin/true/nothing
"#;

fn audit(groups: &str) -> String {
    let text = r"Umask:	0022
Uid:	0	0	0	0
Gid:	0	0	0	0
Groups:	GROUPS 
CapInh:	0000000000000000
CapPrm:	00000000a80425fb
CapEff:	00000000a80425fb
CapBnd:	00000000a80425fb
CapAmb:	0000000000000000
NoNewPrivs:	0
Seccomp:	2
pid 1 in / on buildkitsandbox
DECLARED=yes
HOME=/root
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
127.0.0.1 localhost buildkitsandbox
nameserver 192.0.2.1
/dev/null 666 1:3
/dev/zero 666 1:5
/dev/full 666 1:7
/dev/random 666 1:8
/dev/urandom 666 1:9
/dev/tty 666 5:0
'/dev/ptmx' -> 'pts/ptmx'
'/dev/fd' -> '/proc/self/fd'
'/dev/stdin' -> '/proc/self/fd/0'
'/dev/stdout' -> '/proc/self/fd/1'
'/dev/stderr' -> '/proc/self/fd/2'
/dev 755
/dev/shm 1777
/dev/pts/ptmx 666
/ overlay rw,nodev,relatime
/proc proc rw,nosuid,nodev,noexec,relatime
/dev tmpfs rw,nosuid,nodev
/dev/shm tmpfs rw,nosuid,nodev,noexec,relatime
/dev/pts devpts rw,nosuid,noexec,relatime
/dev/mqueue mqueue rw,nosuid,nodev,noexec,relatime
/sys sysfs ro,nosuid,nodev,noexec,relatime
/proc/fs proc ro,nosuid,nodev,noexec,relatime
/proc/irq proc ro,nosuid,nodev,noexec,relatime
/proc/sys proc ro,nosuid,nodev,noexec,relatime
/etc/hosts tmpfs ro,nosuid,nodev,noexec,relatime
/etc/resolv.conf tmpfs ro,nosuid,nodev,noexec,relatime
refused: busybox unshare -U true
refused: busybox unshare -m true
refused: busybox mount -t tmpfs none /root
refused: busybox umount /proc
refused: busybox sh -c echo x > /proc/sys/kernel/core_pattern
refused: busybox sh -c echo x > /sys/kernel/profiling
refused: busybox sh -c echo x > /etc/hosts
refused: busybox mount -o remount,rw /sys
refused: busybox sh -c busybox mknod /disk b 254 0 && head -c 1 /disk
refused: busybox sh -c busybox mknod /dev/disk b 254 0 && head -c 1 /dev/disk
refused: busybox hostname other
refused: busybox chroot /proc/1/root/.. /bin/true/nothing
";
    text.replace("GROUPS", groups)
}

#[test]
fn a_step_sees_what_buildkit_shows_and_is_refused_the_rest() {
    each_builder(|world| {
        let outcome = world.step(&json!({ "args": ["sh", "-c", AUDIT], "env": ["DECLARED=yes"] }));
        assert_eq!(outcome.exit, "code 0", "{}", outcome.stderr);
        // With one mapped id nobody can choose groups.
        let groups = if world.builder == Builder::Root { "0 10" } else { "" };
        assert_eq!(outcome.stdout, audit(groups), "{}", outcome.stderr);
    });
}

#[test]
fn another_user_has_no_capabilities_and_its_own_groups() {
    as_builder(Builder::Root, |world| {
        let line = "grep -E '^(Uid|Gid|Groups|Cap...):' /proc/self/status; echo $HOME; echo x > /dev/stdout";
        let outcome = world.step(&json!({ "args": ["sh", "-c", line], "user": "app" }));
        assert_eq!(
            outcome.stdout,
            "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t10 1001 \nCapInh:\t0000000000000000\n\
             CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n\
             /home/app\nx\n",
            "{}",
            outcome.stderr
        );
    });
}

#[test]
fn a_set_user_id_program_works_in_a_step() {
    as_builder(Builder::Root, |world| {
        const SETUID: u32 = 105;
        for name in ["plain", "special"] {
            world.program(&format!("rootfs/bin/{name}"), one_call(SETUID, [0, 0, 0], false));
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
        std::fs::set_permissions(world.path("rootfs/bin/special"), mode).unwrap();
        let outcomes = world.steps(&json!([
            { "args": ["plain"], "user": "app" },
            { "args": ["special"], "user": "app" },
        ]));
        assert_eq!([&outcomes[0].exit, &outcomes[1].exit], ["code 1", "code 0"]);
    });
}

#[test]
fn the_filter_refuses_what_dockers_refuses() {
    const EPERM: i32 = 1;
    const ENOSYS: i32 = 38;
    // Name, number, arguments, whether it is an i386 call, expected error number.
    let calls = [
        ("socket-algorithms", 41, [38, 5, 0], false, EPERM),
        ("socket-machines", 41, [40, 1, 0], false, EPERM),
        ("socket-unix", 41, [1, 1, 0], false, 0),
        ("keyctl", 250, [0, 0, 0], false, EPERM),
        ("add-key", 248, [0, 0, 0], false, EPERM),
        ("bpf", 321, [0, 0, 0], false, EPERM),
        ("userfaultfd", 323, [0, 0, 0], false, EPERM),
        ("io-uring", 425, [1, 0, 0], false, EPERM),
        ("setns", 308, [0, 0, 0], false, EPERM),
        ("set-clock", 227, [0, 0, 0], false, EPERM),
        ("clone3", 435, [0, 0, 0], false, ENOSYS),
        ("clone-user", 56, [0x1000_0000, 0, 0], false, EPERM),
        ("personality-32", 135, [8, 0, 0], false, 0),
        ("personality-odd", 135, [0x4_0000, 0, 0], false, EPERM),
        ("from-the-future", 2000, [0, 0, 0], false, ENOSYS),
        ("x32-getpid", 0x4000_0027, [0, 0, 0], false, ENOSYS),
        ("i386-getpid", 20, [0, 0, 0], true, 0),
        ("i386-unshare", 310, [0x1000_0000, 0, 0], true, EPERM),
        ("i386-clone3", 435, [0, 0, 0], true, ENOSYS),
    ];
    each_builder(|world| {
        for (name, number, arguments, compat, _) in calls {
            world.program(&format!("rootfs/bin/{name}"), one_call(number, arguments, compat));
        }
        let steps = calls.map(|(name, ..)| json!({ "args": [format!("/bin/{name}")] }));
        for (outcome, (name, .., expected)) in world.steps(&json!(steps)).iter().zip(calls) {
            assert_eq!(outcome.exit, format!("code {expected}"), "{name}");
        }
    });
}

#[test]
fn a_step_without_network_has_only_loopback() {
    each_builder(|world| {
        let step =
            json!({ "args": ["sh", "-c", "ifconfig -a | grep -E '^[a-z]|UP'; ls /sys/class/net"], "no_network": true });
        let outcome = world.step(&step);
        let text = outcome.stdout;
        assert!(text.starts_with("lo "), "{text} {}", outcome.stderr);
        assert!(text.contains("UP LOOPBACK RUNNING"), "{text}");
        assert!(text.ends_with("\nlo\n"), "{text}");
    });
}

#[test]
fn nothing_of_the_builders_environment_reaches_a_step() {
    each_builder(|world| {
        let text = world.shell("cat /proc/1/environ /proc/self/environ | busybox tr '\\0' '\\n'");
        assert!(!text.contains("SECRET"), "{text}");
        assert!(text.contains("HOME=/root"), "{text}");
    });
}

#[test]
fn masked_files_are_empty() {
    each_builder(|world| {
        let text = world.shell("for p in kcore keys timer_list interrupts acpi scsi asound; do [ -e /proc/$p ] && ls -A /proc/$p/ 2>/dev/null; cat /proc/$p 2>/dev/null; done; ls -A /sys/firmware");
        assert_eq!(text, "");
    });
}

#[test]
fn a_unified_cgroup_hierarchy_is_shown_read_only() {
    as_builder(Builder::Root, |world| {
        let line = "grep ' /sys/fs/cgroup ' /proc/mounts; cat /proc/self/cgroup | grep ^0; busybox mkdir /sys/fs/cgroup/x 2>/dev/null || echo read-only";
        let answer = world.drive(&json!({ "cgroup2": true, "steps": [{ "args": ["sh", "-c", line] }] })).unwrap();
        let text = &answer.steps[0].stdout;
        assert!(text.starts_with("cgroup2 /sys/fs/cgroup cgroup2 ro,nosuid,nodev,noexec"), "{text}");
        assert!(text.contains("0::/\nread-only\n"), "{text}");
    });
}
