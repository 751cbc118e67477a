//! The one way out of a step that has no network, and whom the step trusts on it (E019).

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use serde_json::{Value, json};

use crate::support::{Outcome, World, each_builder};

const OURS: &str = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

fn step(line: &str) -> Value {
    json!({
        "args": ["sh", "-c", format!("{line}; echo from the step | busybox nc 127.0.0.1 61080")],
        "no_network": true,
        "outlet": { "port": 61080, "trusted": OURS.as_bytes() },
    })
}

/// An image whose bundle is found by way of a link, as that of Alpine.
fn image(world: &World) {
    fs::create_dir_all(world.path("rootfs/etc/ssl/certs")).unwrap();
    world.write(&format!("rootfs/{BUNDLE}"), "theirs\n");
    fs::set_permissions(world.path(&format!("rootfs/{BUNDLE}")), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("certs/ca-certificates.crt", world.path("rootfs/etc/ssl/cert.pem")).unwrap();
    // What is no file, or leads nowhere, is nobody's to trust.
    fs::create_dir_all(world.path("rootfs/etc/ssl/ca-bundle.pem")).unwrap();
    symlink("/nowhere", world.path("rootfs/etc/pki")).unwrap();
}

fn run(world: &World, step: &Value) -> Outcome {
    let before = world.outside_as_it_is();
    let answer = world.drive(&json!({ "lowers": ["stubs", "rootfs"], "steps": [step] })).unwrap();
    assert_eq!(world.outside_as_it_is(), before);
    answer.steps.into_iter().next().unwrap()
}

fn ok(outcome: &Outcome) -> &str {
    assert_eq!(outcome.exit, "code 0", "{} {:?}", outcome.stderr, outcome.notes);
    &outcome.stdout
}

#[test]
fn the_socket_is_the_callers_and_nothing_else_leads_out() {
    each_builder(|world| {
        image(world);
        // Something that listens on this machine's loopback device, which is another one.
        let host = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = host.local_addr().unwrap().port();
        let raw = format!("busybox nc -w 5 127.0.0.1 {port} </dev/null 2>&1; ls /sys/class/net");
        let outcome = run(world, &step(&raw));
        let said = ok(&outcome);
        assert!(said.contains("can't connect to remote host (127.0.0.1): Connection refused\n"), "{said}");
        assert!(said.ends_with(&format!("lo\n[\"{BUNDLE}\"] from the step\n")), "{said}");
        host.set_nonblocking(true).unwrap();
        assert!(host.accept().is_err(), "a step reached this machine");
    });
}

#[test]
fn trusted_certificates_are_in_front_of_the_images_and_never_in_the_layer() {
    each_builder(|world| {
        image(world);
        let line = format!("cat /etc/ssl/cert.pem; stat -c %a:%u /{BUNDLE}; echo x >/etc/ssl/new");
        let outcome = run(world, &step(&line));
        assert_eq!(ok(&outcome), format!("{OURS}theirs\n640:0\n[\"{BUNDLE}\"] from the step\n"));
        let layer = world.path("steps/0/upper/etc/ssl");
        let names: Vec<_> = fs::read_dir(&layer).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["new"]);
        // The directories above what is written are those of the image.
        let (made, image) =
            (fs::metadata(layer.parent().unwrap()).unwrap(), fs::metadata(world.path("rootfs/etc")).unwrap());
        assert_eq!((made.mtime(), made.mode()), (image.mtime(), image.mode()));
    });
}

#[test]
fn a_step_may_write_exchange_and_remove_the_file_as_if_it_were_the_images() {
    each_builder(|world| {
        image(world);
        let upper = world.path(&format!("steps/0/upper/{BUNDLE}"));
        let outcome = run(world, &step(&format!("echo new >/tmp.crt; busybox mv -f /tmp.crt /{BUNDLE}")));
        ok(&outcome);
        assert_eq!(fs::read_to_string(&upper).unwrap(), "new\n");
        let outcome = run(world, &step(&format!("echo more >>/{BUNDLE}")));
        ok(&outcome);
        // What the caller is told of is what it has to take out again.
        assert_eq!(fs::read_to_string(&upper).unwrap(), format!("{OURS}theirs\nmore\n"));
        let outcome = run(world, &step(&format!("busybox rm /{BUNDLE}")));
        ok(&outcome);
        assert_eq!(fs::symlink_metadata(&upper).unwrap().rdev(), 0);
    });
}

#[test]
fn an_image_without_trusted_certificates_gets_none() {
    each_builder(|world| {
        let outcome = run(world, &step("ls /etc"));
        assert_eq!(ok(&outcome), "group\nhosts\npasswd\nresolv.conf\n[] from the step\n");
    });
}
