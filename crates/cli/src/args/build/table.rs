//! Table: the options of `docker build`, `docker buildx build` and `buildah build` that stave does not have, and what
//! it answers. `docs/build-options.md` is made from it.

use super::elsewhere::{Answer, Row, Takes, Values};

use Answer::{NotYet, Note, Refused, So};
use Takes::{Nothing, Value};
use Values::{Any, Like, Of};

/// The options.
pub(crate) const TABLE: &[Row] = &[
    // Of docker build and docker buildx build.
    Row {
        features: "B064",
        flags: &["--unsetannotation"],
        takes: Value("org.example.key"),
        answers: &[(Any, So("annotations of the base are not taken over"))],
    },
    Row {
        features: "B027, E005",
        flags: &[
            "--sbom-scanner-image",
            "--sbom-scanner-command",
            "--sbom-merge-strategy",
            "--sbom-output",
            "--sbom-image-output",
            "--sbom-purl-output",
            "--sbom-image-purl-output",
        ],
        takes: Value("x"),
        answers: &[(
            Any,
            Refused(
                "Use `--sbom`, whose scanner is built in and whose list goes with the image, or write `-o type=oci,dest=FILE` and scan that.",
            ),
        )],
    },
    Row {
        features: "B036",
        flags: &["--builder"],
        takes: Value("other"),
        answers: &[
            (Of(&["default", ""]), So("the one builder that there is")),
            (Any, Note("stave builds in its own process, there are no builders to choose from")),
        ],
    },
    Row {
        features: "B043, J019",
        flags: &["--isolation"],
        takes: Value("hyperv"),
        answers: &[
            (Of(&["default", ""]), So("every step runs in stave's own sandbox")),
            (
                Of(&["oci", "rootless", "chroot"]),
                Note("every step runs in stave's own sandbox, for root and for users"),
            ),
            (Any, Refused("Only Linux images are built, in stave's own sandbox; leave the option out.")),
        ],
    },
    Row {
        features: "B044",
        flags: &["--security-opt"],
        takes: Value("seccomp=profile.json"),
        answers: &[
            (Like("label"), Note("steps get no SELinux label of their own")),
            (
                Of(&["seccomp=unconfined", "apparmor=unconfined", "unmask=ALL", "unmask=all"]),
                Note(
                    "steps keep their system-call filter; `RUN --security=insecure` with `--allow security.insecure` runs without",
                ),
            ),
            (Any, Refused("Steps run under stave's own filter, which no option changes; leave the option out.")),
        ],
    },
    Row {
        features: "B046",
        flags: &["--compress"],
        takes: Nothing,
        answers: &[(Any, So("the context is read where it is, nothing is sent that could be compressed"))],
    },
    Row {
        features: "B047",
        flags: &["--rm", "--force-rm"],
        takes: Nothing,
        answers: &[(Any, So("a build makes no intermediate containers that could be kept or removed"))],
    },
    Row {
        features: "B048",
        flags: &["--disable-content-trust"],
        takes: Nothing,
        answers: &[
            (Of(&["true"]), So("signatures are not verified")),
            (Any, Refused("Signatures are not verified; pin bases by digest: `FROM name@sha256:...`.")),
        ],
    },
    Row {
        features: "G020",
        flags: &["--invoke"],
        takes: Value("/bin/sh"),
        answers: &[(
            Any,
            Refused("Use `--on-failure shell`, or afterwards `stave debug`, with `--before STEP` or `--after STEP`."),
        )],
    },
    // Of buildah build.
    Row {
        features: "B060, J013",
        flags: &["--layers"],
        takes: Nothing,
        answers: &[
            (Of(&["true"]), So("every step is a layer, and cached")),
            (Any, Refused("Every step is a layer; `--no-cache` runs all of them.")),
        ],
    },
    Row {
        features: "B061, J027",
        flags: &["--format"],
        takes: Value("v2s1"),
        answers: &[
            (Of(&["oci"]), So("images are kept and pushed in OCI form, with HEALTHCHECK, SHELL and ONBUILD")),
            (
                Of(&["docker"]),
                Note(
                    "images are kept and pushed in OCI form, with HEALTHCHECK, SHELL and ONBUILD; `-o type=docker,dest=FILE` writes Docker's",
                ),
            ),
            (Any, Refused("Choose the form of the result with `-o type=oci` or `-o type=docker`.")),
        ],
    },
    Row {
        features: "B063, J016",
        flags: &["--created-annotation", "--identity-label", "--inherit-annotations"],
        takes: Nothing,
        answers: &[
            (Of(&["false"]), So("stave writes nothing into an image that the Dockerfile does not say")),
            (Any, Refused("stave writes nothing into an image that the Dockerfile does not say; see `--label`.")),
        ],
    },
    Row {
        features: "B063",
        flags: &["--inherit-labels"],
        takes: Nothing,
        answers: &[
            (Of(&["true"]), So("labels of the base are kept")),
            (Any, Refused("Set the labels of the base that must not stay to nothing: `--label NAME=`.")),
        ],
    },
    Row {
        features: "B064, J017",
        flags: &["--unsetenv"],
        takes: Value("NAME"),
        answers: &[(Any, Refused("Set it to nothing in the Dockerfile: `ENV NAME=`."))],
    },
    Row {
        features: "B064",
        flags: &["--unsetlabel"],
        takes: Value("NAME"),
        answers: &[(Any, Refused("Set it to nothing: `--label NAME=`."))],
    },
    Row {
        features: "B065",
        flags: &["--layer-label"],
        takes: Value("a=b"),
        answers: &[(Any, Refused("Steps are no images; `--label` is for the result."))],
    },
    Row {
        features: "B065",
        flags: &["--save-stages", "--stage-labels"],
        takes: Nothing,
        answers: &[
            (Of(&["false"]), So("only the result is an image")),
            (Any, Refused("Build each stage that you want to keep with `--target STAGE -t NAME`.")),
        ],
    },
    Row {
        features: "B066",
        flags: &["--manifest"],
        takes: Value("list"),
        answers: &[(
            Any,
            NotYet("Name the image with `-t`, and list it with `stave manifest create`, `add` and `push`."),
        )],
    },
    Row {
        features: "B067",
        flags: &["--all-platforms"],
        takes: Nothing,
        answers: &[
            (Of(&["false"]), So("one platform is built")),
            (Any, NotYet("List the platforms: `--platform linux/amd64,linux/arm64`.")),
        ],
    },
    Row {
        features: "B013",
        flags: &["--arch", "--os", "--variant"],
        takes: Value("amd64"),
        answers: &[(Any, Refused("Write it as `--platform OS/ARCH`."))],
    },
    Row {
        features: "J024",
        flags: &["--os-feature", "--os-version"],
        takes: Value("x"),
        answers: &[(Any, Refused("Images for Linux have none; leave the option out."))],
    },
    Row {
        features: "B068, J021",
        flags: &["--from"],
        takes: Value("alpine"),
        answers: &[(
            Any,
            Refused("Write `--build-context BASE=docker-image://OTHER`, or `ARG BASE` and `FROM $BASE`."),
        )],
    },
    Row {
        features: "B069, J018",
        flags: &["--volume -v"],
        takes: Value("/a:/b"),
        answers: &[(Any, Refused("Write `--build-context NAME=DIR` and `RUN --mount=type=bind,from=NAME,target=/b`."))],
    },
    Row {
        features: "B069",
        flags: &["--mount"],
        takes: Value("type=tmpfs,target=/t"),
        answers: &[(Any, Refused("Write it into the Dockerfile: `RUN --mount=...`."))],
    },
    Row {
        features: "B069",
        flags: &["--device"],
        takes: Value("/dev/fuse"),
        answers: &[(Any, Refused("Write `RUN --device=...` into the Dockerfile, and allow it with `--allow device`."))],
    },
    Row {
        features: "B070",
        flags: &["--env"],
        takes: Value("A=b"),
        answers: &[(
            Any,
            Refused("Write `ARG NAME` and `ENV NAME=$NAME` into the Dockerfile, and give `--build-arg NAME=VALUE`."),
        )],
    },
    Row {
        features: "B071, J023",
        flags: &["--jobs"],
        takes: Value("4"),
        answers: &[(
            Any,
            Note("steps run beside each other wherever the Dockerfile lets them, as many as there are processors"),
        )],
    },
    Row {
        features: "B072",
        flags: &["--retry", "--retry-delay"],
        takes: Value("3"),
        answers: &[(Any, Note("a registry that fails is asked again a few times, with growing pauses"))],
    },
    Row {
        features: "B073",
        flags: &["--authfile"],
        takes: Value("auth.json"),
        answers: &[(Any, Refused("Name the file in the variable REGISTRY_AUTH_FILE."))],
    },
    Row {
        features: "B073",
        flags: &["--creds"],
        takes: Value("user:password"),
        answers: &[(Any, Refused("Write them into `~/.docker/config.json`, or a file that REGISTRY_AUTH_FILE names."))],
    },
    Row {
        features: "B073",
        flags: &["--cert-dir"],
        takes: Value("certs"),
        answers: &[(
            Any,
            Refused("Put the certificates into `/etc/containers/certs.d/HOST` or `/etc/docker/certs.d/HOST`."),
        )],
    },
    Row {
        features: "B073",
        flags: &["--tls-verify"],
        takes: Nothing,
        answers: &[
            (Of(&["true"]), So("certificates are verified")),
            (Any, Refused("Mark the registry as `insecure = true` in `registries.conf`.")),
        ],
    },
    Row {
        features: "B073, C037, C038",
        flags: &["--decryption-key", "--sign-by", "--signature-policy"],
        takes: Value("key"),
        answers: &[(
            Any,
            Refused("Images are neither encrypted nor signed; use `skopeo copy` before or after the build."),
        )],
    },
    Row {
        features: "J022",
        flags: &["--compat-volumes"],
        takes: Nothing,
        answers: &[
            (Of(&["false"]), So("what steps write into a volume is kept")),
            (Any, Refused("What steps write into a volume is kept, as BuildKit does; leave the option out.")),
        ],
    },
    Row {
        features: "J020",
        flags: &["--omit-history"],
        takes: Nothing,
        answers: &[
            (Of(&["false"]), So("the history is written")),
            (Any, Refused("The history is always written; leave the option out.")),
        ],
    },
    Row {
        features: "J026",
        flags: &["--stdin"],
        takes: Nothing,
        answers: &[
            (Of(&["false"]), So("steps have an empty standard input")),
            (Any, Refused("Steps have an empty standard input; give them the text as a secret or a file.")),
        ],
    },
    Row {
        features: "J024",
        flags: &["--dns", "--dns-option", "--dns-search"],
        takes: Value("192.0.2.1"),
        answers: &[(Any, Refused("Steps use this machine's `/etc/resolv.conf`; `--add-host` names single hosts."))],
    },
    Row {
        features: "J024",
        flags: &["--no-hosts", "--no-hostname"],
        takes: Nothing,
        answers: &[
            (Of(&["false"]), So("steps see files of their own")),
            (
                Any,
                Refused(
                    "Steps see `/etc/hosts` and `/etc/hostname` of their own, which never reach the image; leave it out.",
                ),
            ),
        ],
    },
    Row {
        features: "J024",
        flags: &["--cgroupns", "--ipc", "--pid", "--uts", "--userns", "--userns-uid-map", "--userns-gid-map"],
        takes: Value("host"),
        answers: &[
            (Of(&["private"]), So("every step has namespaces of its own")),
            (Any, Refused("Every step has namespaces of its own; leave the option out.")),
        ],
    },
    Row {
        features: "J024",
        flags: &["--userns-uid-map-user", "--userns-gid-map-group"],
        takes: Value("user"),
        answers: &[(Any, Refused("The ids of a user's builds are those that `/etc/subuid` and `/etc/subgid` give."))],
    },
    Row {
        features: "J024",
        flags: &["--cap-add"],
        takes: Value("SYS_ADMIN"),
        answers: &[(Any, Refused("Write `RUN --security=insecure`, and allow it with `--allow security.insecure`."))],
    },
    Row {
        features: "J024",
        flags: &["--cap-drop"],
        takes: Value("CHOWN"),
        answers: &[(Any, Refused("Steps have the fourteen capabilities that BuildKit gives; leave the option out."))],
    },
    Row {
        features: "J024",
        flags: &["--group-add", "--hooks-dir", "--runtime", "--runtime-flag", "--cni-config-dir", "--cni-plugin-path"],
        takes: Value("x"),
        answers: &[(
            Any,
            Refused("stave runs steps itself, without a runtime that could be configured; leave it out."),
        )],
    },
    Row {
        features: "A075",
        flags: &["--http-proxy"],
        takes: Nothing,
        answers: &[
            (Of(&["false"]), So("steps get no proxy of the environment")),
            (Any, Refused("Give the proxy by name: `--build-arg HTTP_PROXY`, or set it in `~/.docker/config.json`.")),
        ],
    },
    Row {
        features: "G023, J023",
        flags: &["--logfile"],
        takes: Value("log"),
        answers: &[(Any, Refused("Redirect standard error: `2> FILE`, with `--progress=plain`."))],
    },
    Row {
        features: "G023, J023",
        flags: &["--logsplit"],
        takes: Nothing,
        answers: &[
            (Of(&["false"]), So("all platforms have one log")),
            (Any, Refused("All platforms have one log, in which each line says its step; redirect standard error.")),
        ],
    },
    Row {
        features: "K011",
        flags: &["--skip-unused-stages"],
        takes: Nothing,
        answers: &[
            (Of(&["true"]), So("only stages that the result needs are built")),
            (Any, Refused("Build another stage by its name, with `--target`.")),
        ],
    },
    Row {
        features: "C039",
        flags: &["--cw"],
        takes: Value("type=snp"),
        answers: &[(Any, Refused("Confidential workloads are not built; convert the image with `buildah mkcw`."))],
    },
];
