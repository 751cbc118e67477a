//! Confined jobs: what they can and cannot do, and how they fail.

use serde_json::json;

use crate::support::{Builder, each_builder};

#[test]
fn a_job_sees_its_directory_and_nothing_else() {
    each_builder(|world| {
        world.write("job/a", "1");
        world.write("job.txt", "passed by descriptor");
        let attribute = if world.builder == Builder::Root { "trusted.overlay.opaque" } else { "user.overlay.opaque" };
        let answer = world.drive(&json!({ "jobs": [["list", ""], ["read", ""], ["probe", attribute]] })).unwrap();
        assert_eq!(answer.jobs[0], "a");
        assert_eq!(answer.jobs[1], "passed by descriptor");
        assert_eq!(
            answer.jobs[2],
            "files: 2\nwrite: ok\nlink: ok\nrename: ok\nwhiteout: ok\nattribute: ok\noutside: entity not found\n\
             socket: permission denied\nprogram: permission denied\nmount: permission denied\nthread: ok\n"
        );
    });
}

#[test]
fn a_job_that_fails_is_an_error_of_its_kind() {
    each_builder(|world| {
        let jobs = json!([
            ["panic", "with this"],
            ["abort", ""],
            ["forever", ""],
            ["huge", ""],
            ["unknown", ""],
            ["list", ""]
        ]);
        let answer = world.drive(&json!({ "jobs": jobs })).unwrap();
        let jobs = &answer.jobs;
        assert!(jobs[0].starts_with("error: confined job `panic` panicked: panicked at "), "{}", jobs[0]);
        assert!(jobs[0].ends_with("job with this"), "{}", jobs[0]);
        assert!(jobs[1].starts_with("error: confined job `abort` ended without an answer"), "{}", jobs[1]);
        assert_eq!(jobs[2], "error: confined job `forever` ended without an answer (status 137)");
        assert_eq!(jobs[3], "error: confined job `huge` answered 83886080 bytes, expected at most 67108864");
        assert_eq!(jobs[4], "error: no confined job is named `unknown`");
        assert_eq!(jobs[5], "");
    });
}
