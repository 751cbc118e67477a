//! Where a rule must say nothing, beside the same thing where it speaks: what is not known for sure is not advised.

mod support;

use stave_advice::{Advice, Subject, advise};
use stave_dockerfile::parse;

use support::{Built, Does};

/// Files of the layers of a build's steps, in order; `-` in front of a path deletes it.
type Files<'a> = &'a [&'a [&'a str]];

fn advice(text: &str, files: Files<'_>) -> Vec<Advice> {
    let does = |step: usize| {
        let of = |path: &&str| match path.strip_prefix('-') {
            Some(path) => (path.to_owned(), Does::Deletes),
            None => ((*path).to_owned(), Does::Puts(1 << 20)),
        };
        files.get(step).copied().unwrap_or_default().iter().map(of).collect()
    };
    let Built { image, record } = Built::new(text, &does);
    let parsed = parse(text);
    assert!(parsed.diagnostics.is_empty(), "{text}\n{:?}", parsed.diagnostics);
    let program = Some(("/app", true));
    advise(&Subject { record: &record, file: &parsed.file, image: Some(&image), stages: &[], program })
}

/// Whether a rule has something to say.
fn says(code: &str, text: &str, files: Files<'_>) -> bool {
    advice(text, files).iter().any(|advice| advice.code.as_str() == code)
}

#[test]
fn a_cache_that_the_container_uses_or_that_a_mount_hides_in_part_stays() {
    let files: Files<'_> = &[&["root/.npm/x"]];
    assert!(says("cache-in-layer", "FROM a\nRUN npm ci\nCMD [\"node\", \"x\"]\n", files));
    assert!(!says("cache-in-layer", "FROM a\nRUN npm ci\nCMD [\"npm\", \"start\"]\n", files));
    let of_pip: Files<'_> = &[&["root/.cache/pip/x"]];
    let with = |start: &str| says("cache-in-layer", &format!("FROM a\nRUN pip install x\nCMD {start}\n"), of_pip);
    assert!(with("[\"python\", \"app.py\"]") && with("python app.py"), "an interpreter is no manager");
    assert!(!with("[\"python3\", \"-m\", \"pip\", \"list\"]") && !with("python3 -m pip list") && !with("[\"pip\"]"));
    assert!(!says("cache-in-layer", "FROM a\nRUN --mount=type=tmpfs,target=/root npm ci\n", files));
    assert!(!says("cache-in-layer", "FROM a\nCOPY npm /root/.npm\n", files), "what is copied is wanted");
    assert!(!says("cache-in-layer", "FROM a\nRUN npm ci\n", &[&["srv/x"]]), "there is none");
    let steps: Files<'_> = &[&["root/.cache/go-build/x"], &["root/.cache/go-build/y"]];
    let found = advice("FROM a\nRUN go get x\nRUN CGO_ENABLED=0 go build\n", steps);
    assert_eq!(found[0].edits.len(), 2, "both keep something: {found:#?}");
    assert!(!says("cache-in-layer", "FROM a\nRUN go get x\nRUN ./make.sh\n", steps), "it would still be kept");
}

#[test]
fn lists_that_a_step_uses_in_a_way_that_cannot_be_told_stay() {
    let files: Files<'_> = &[&["var/lib/apt/lists/x"], &["usr/bin/x"]];
    let rule = "cache-in-layer";
    assert!(says(rule, "FROM a\nRUN apt-get update\nRUN apt-get install x\n", files));
    assert!(!says(rule, "FROM a\nRUN apt-get update\nRUN if true; then apt-get install x; fi\n", files));
    assert!(!says(rule, "FROM a\nRUN apt-get update\n", files), "somebody may want them");
}

#[test]
fn dependencies_whose_installation_may_read_more_than_their_list_stay_where_they_are() {
    let rule = "dependencies-after-source";
    let files: Files<'_> = &[&[], &["app/package.json", "app/src/x"]];
    let text = |run: &str| format!("FROM a\nWORKDIR /app\nCOPY . .\nRUN {run}\n");
    assert!(says(rule, &text("npm ci --omit=dev"), files));
    assert!(!says(rule, &text("npm ci && npm run build"), files), "nobody knows how long each took");
    assert!(!says(rule, &text("npm install ./local"), files));
    assert!(!says(rule, &text("pip install ."), files));
    let workspace: Files<'_> = &[&[], &["app/package.json", "app/packages/x/package.json"]];
    assert!(!says(rule, &text("npm ci"), workspace));
    assert!(!says(rule, &text("npm ci"), &[&[], &["app/src/x"]]), "there is no list");
    let moved = "FROM a\nWORKDIR /app\nCOPY . .\nRUN ./prepare\nRUN npm ci\n";
    assert!(!says(rule, moved, files), "what a step between them did may be needed");
    let right = "FROM a\nWORKDIR /app\nCOPY package.json .\nCOPY . .\nRUN npm ci\n";
    assert!(!says(rule, right, &[&[], &["app/package.json"], &["app/package.json"]]), "the order may be meant");
    let requirements: Files<'_> = &[&[], &["app/requirements.txt", "app/requirements-dev.txt"]];
    let found = advice(&text("pip install --no-cache-dir -r requirements.txt"), requirements);
    assert!(found[0].edits[0].text.contains("COPY requirements.txt requirements-dev.txt ./"), "one may name another");
}

#[test]
fn packages_stay_behind_what_may_be_their_source_or_their_setting() {
    let rule = "packages-after-copy";
    let run = "RUN apt-get update && apt-get install -y curl\n";
    assert!(says(rule, &format!("FROM a\nCOPY src /src\n{run}"), &[&["src/x"]]));
    assert!(!says(rule, &format!("FROM a\nCOPY list /etc/apt/sources.list.d/\n{run}"), &[&["etc/apt/x"]]));
    assert!(!says(rule, &format!("FROM a\nCOPY src /src\nENV http_proxy=x\n{run}"), &[&["src/x"]]));
    assert!(!says(rule, "FROM a\nCOPY x.deb /src/\nRUN apt-get install -y /src/x.deb\n", &[&["src/x.deb"]]));
    assert!(!says(rule, &format!("FROM a\n{run}COPY src /src\n"), &[&[], &["src/x"]]), "it is right");
}

#[test]
fn a_stage_does_not_wait_for_another_one_to_install_packages() {
    let text = "FROM a AS build\nRUN make\nFROM a\nCOPY --from=build /out /srv/out\nRUN apk add curl\n";
    let found = advice(text, &[&[], &["srv/out"]]);
    assert!(found.iter().any(|advice| advice.code.as_str() == "packages-after-copy"), "{found:#?}");
}

#[test]
fn an_owner_that_a_copy_cannot_set_is_set_afterwards() {
    let rule = "owner-in-later-layer";
    let files: Files<'_> = &[&["data/x"], &["data/x"]];
    let text = |run: &str| format!("FROM a\nCOPY data /data\nRUN {run}\n");
    assert!(says(rule, &text("chown -R 1:2 /data"), files));
    assert!(says(rule, &text("chmod u=rwX,go=rX -R /data"), files));
    assert!(!says(rule, &text("chown -R app /data"), files), "the group would be another one");
    assert!(!says(rule, &text("chown -R 1:2 /data && touch /done"), files));
    assert!(!says(rule, &text("chown -R 1:2 /data"), &[&["data/x", "data/y"], &["data/x"]]), "not all of it");
    let user = "FROM a\nCOPY data /data\nRUN adduser app\nRUN chown -R app:app /data\n";
    assert!(!says(rule, user, &[&["data/x"], &[], &["data/x"]]), "there was no such user");
    let set = "FROM a\nCOPY --chown=3:4 data /data\nRUN chown -R 1:2 /data\n";
    assert!(!says(rule, set, files));
}

#[test]
fn what_is_deleted_but_needed_before_is_left_alone() {
    let rule = "copied-then-deleted";
    let files: Files<'_> = &[&["tmp/x"], &["-tmp/x"]];
    assert!(says(rule, "FROM a\nCOPY x /tmp/\nRUN tar -xf /tmp/x && rm /tmp/x\n", files));
    assert!(!says(rule, "FROM a\nCOPY x y /tmp/\nRUN tar -xf /tmp/x && rm /tmp/x\n", files));
    assert!(!says(rule, "FROM a\nCOPY x /tmp/\nRUN tar -xf /tmp/x; rm /tmp/x\n", files), "the end is another one");
    assert!(!says(rule, "FROM a\nCOPY x /tmp/\nRUN rm /tmp/x\n", files), "nobody uses it: that is a mistake");
    let rule = "deleted-in-later-layer";
    assert!(says(rule, "FROM a\nRUN make\nRUN rm /tmp/x\n", files));
    assert!(!says(rule, "FROM a\nRUN cd /src && make\nRUN rm x\n", files), "it would be in another directory");
    assert!(!says(rule, "FROM a\nRUN make\nENV A=1\nRUN rm /tmp/x\n", files));
    assert!(
        !says(rule, "FROM a\nRUN make\nRUN rm /tmp/x\n", &[&["tmp/y"], &["-tmp/x"]]),
        "the base's is shipped anyway"
    );
}

#[test]
fn what_somebody_speaks_of_is_no_needless_part_of_the_context() {
    let rule = "needless-context";
    let files: Files<'_> = &[&["src/.git/HEAD", "src/target/x"]];
    assert!(says(rule, "FROM a\nCOPY . /src\n", files));
    assert!(!says(rule, "FROM a\nCOPY . /src\nRUN git describe > /version\n", files));
    assert!(
        !says(rule, "FROM a\nCOPY . /src\n", &[&["src/target/x"]]),
        "it is called so, and nothing shows what it is"
    );
    assert!(!says(rule, "FROM a AS b\nRUN make\nFROM a\nCOPY --from=b . /src\n", &[&[], &["src/.git/HEAD"]]));
}

#[test]
fn an_image_that_may_need_more_than_its_program_keeps_it() {
    let rule = "build-tool-in-image";
    let files: Files<'_> = &[&["usr/bin/gcc"], &["app"]];
    let text = |more: &str| format!("FROM a\nRUN apk add gcc\nRUN gcc -o /app x.c\n{more}");
    assert!(says(rule, &text("CMD [\"/app\"]\n"), files));
    assert!(!says(rule, &text("CMD /app\n"), files), "there would be no shell");
    assert!(!says(rule, &text("USER app\nCMD [\"/app\"]\n"), files), "there would be no such user");
    assert!(!says(rule, &text("CMD [\"/other\"]\n"), files));
    assert!(!says(rule, &text("CMD [\"/app\"]\n"), &[&[], &["app"]]), "nothing builds");
    let rule = "needless-base";
    let text = |more: &str| format!("FROM a AS b\nRUN make\nFROM a\nCOPY --from=b /app /app\n{more}CMD [\"/app\"]\n");
    let files: Files<'_> = &[&[], &["app"]];
    assert!(says(rule, &text(""), files));
    assert!(!says(rule, &text("RUN mkdir /data\n"), files));
    assert!(!says(rule, &text("USER nobody\n"), files));
}
