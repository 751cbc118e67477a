//! Laws of advice, for any build that a file can stand for.

mod support;

use proptest::collection::vec;
use proptest::prelude::*;
use stave_advice::{Subject, advise, apply, hunks};
use stave_dockerfile::parse;

use support::{Built, Does};

/// Instructions that rules look for, and such that they must not trip over.
const LINES: &[&str] = &[
    "FROM alpine",
    "FROM alpine AS build",
    "FROM build",
    "WORKDIR /app",
    "WORKDIR sub",
    "COPY . .",
    "COPY . /app",
    "COPY --chown=1:2 . /app/",
    "COPY src/large /tmp/",
    "COPY --from=build /out /bin/app",
    "COPY package.json ./",
    "ADD https://example.com/x /x",
    "ENV A=1 B=2",
    "ARG V=3",
    "USER nobody",
    "USER 5",
    "RUN npm ci",
    "RUN npm ci && npm cache clean --force",
    "RUN pip install -r requirements.txt",
    "RUN go mod download",
    "RUN apt-get update",
    "RUN apt-get install -y gcc",
    "RUN apt-get update && \\\n    # why\n    apt-get install -y gcc && \\\n    rm -rf /var/lib/apt/lists/*",
    "RUN --mount=type=cache,target=/root/.npm npm ci",
    "RUN --network=none apt-get install curl",
    "RUN chown -R 1:2 /app",
    "RUN chmod 755 /app/x && chown 5:6 /app",
    "RUN tar -xf /tmp/large && rm /tmp/large",
    "RUN rm /tmp/large && true",
    "RUN cd /tmp && rm large",
    "RUN head -c 5 /dev/zero > /scratch",
    "RUN rm /scratch",
    "RUN [\"npm\", \"ci\"]",
    "RUN <<EOF\nnpm ci\nEOF",
    "RUN a; b || c",
    "EXPOSE 80",
    "CMD [\"/bin/app\"]",
    "CMD app",
    "ENTRYPOINT [\"/bin/app\", \"x\"]",
    "# a comment",
    "",
];

/// Paths that rules look at.
const PATHS: &[&str] = &[
    "app/package.json",
    "app/package-lock.json",
    "app/requirements.txt",
    "app/go.mod",
    "app/node_modules/x/index.js",
    "app/.git/HEAD",
    "app/x",
    "bin/app",
    "etc/passwd",
    "root/.npm/index",
    "root/.cache/pip/x",
    "scratch",
    "tmp/large",
    "usr/bin/gcc",
    "usr/local/go/bin/go",
    "var/lib/apt/lists/all",
];

/// What the layer of a step does: to each path, put a file there or delete it.
type Changes = Vec<(usize, bool)>;

fn built(text: &str, does: &[Changes]) -> Built {
    let does = |step: usize| {
        let of = |(path, puts): &(usize, bool)| {
            (PATHS[path % PATHS.len()].to_owned(), if *puts { Does::Puts(1 << 19) } else { Does::Deletes })
        };
        does.get(step).into_iter().flatten().map(of).collect()
    };
    Built::new(text, &does)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    /// What is advised is something, changes the file as its lines say, and makes no mistake that was not there before.
    #[test]
    fn advice_that_is_followed_leaves_a_file_without_new_mistakes(
        lines in vec(prop::sample::select(LINES), 0..12),
        does in vec(vec((0..PATHS.len(), any::<bool>()), 0..5), 0..12),
        ends in any::<bool>(),
        is_static in any::<bool>(),
    ) {
        let text = format!("FROM alpine\n{}{}", lines.join("\n"), if ends { "\n" } else { "" });
        let Built { image, record } = built(&text, &does);
        let parsed = parse(&text);
        let program = Some(("/bin/app", is_static));
        let subject = Subject { record: &record, file: &parsed.file, image: Some(&image), stages: &[], program };
        let mistakes = |text: &str| parse(text).diagnostics.iter().filter(|one| one.is_error()).count();
        for advice in advise(&subject) {
            let changed = apply(&text, &advice.edits);
            prop_assert!(!advice.edits.is_empty() || !advice.ignore.is_empty());
            prop_assert!(mistakes(&changed) <= mistakes(&text), "{text}\n---\n{changed}");
            prop_assert!(advice.gain.bytes > 0 || advice.gain.copied > 0 || !advice.gain.time.is_zero());
            prop_assert_eq!(advice.labels.iter().filter(|label| label.primary).count(), 1);
            // The lines that are shown make the same text.
            let mut shown: Vec<String> = text.lines().map(str::to_owned).collect();
            for hunk in hunks(&text, &advice.edits).iter().rev() {
                shown.splice(hunk.line - 1..hunk.line - 1 + hunk.removed, hunk.lines.iter().cloned());
            }
            prop_assert_eq!(shown, changed.lines().map(str::to_owned).collect::<Vec<_>>());
        }
    }

    /// A record and an image that have nothing to do with the file do no harm.
    #[test]
    fn what_contradicts_itself_does_no_harm(
        lines in vec(prop::sample::select(LINES), 0..8),
        other in vec(prop::sample::select(LINES), 0..8),
        does in vec(vec((0..PATHS.len(), any::<bool>()), 0..5), 0..8),
    ) {
        let (text, other) = (lines.join("\n"), format!("FROM x\n{}", other.join("\n")));
        let Built { image, mut record } = built(&other, &does);
        record.text.clone_from(&text);
        let parsed = parse(&text);
        let program = Some(("/bin/app", true));
        let subject = Subject { record: &record, file: &parsed.file, image: Some(&image), stages: &[], program };
        for advice in advise(&subject) {
            prop_assert!(apply(&text, &advice.edits).len() < 4 * (text.len() + 1000));
        }
    }
}
