use serde_json::json;

use super::*;

fn data() -> Value {
    json!({
        "ID": "sha256:12",
        "Config": {"Env": ["A=1", "B=2"], "Labels": {"z.last": "2", "a.first": "1"}, "Cmd": null, "Tty": false},
        "Size": 1234,
        "Names": ["x"],
    })
}

fn rendered(text: &str) -> String {
    Template::parse(text).and_then(|template| template.render(&data())).unwrap_or_else(|error| format!("{error}"))
}

#[test]
fn fields_and_text() {
    assert_eq!(rendered("{{.ID}} {{ .Size }}B"), "sha256:12 1234B");
    assert_eq!(
        rendered("{{.Config.Env}}|{{.Config.Cmd}}|{{.Config.Labels}}"),
        "[A=1 B=2]|<nil>|map[a.first:1 z.last:2]"
    );
    assert_eq!(rendered("plain"), "plain");
}

#[test]
fn functions_and_pipelines() {
    assert_eq!(rendered("{{json .Config.Env}}"), r#"["A=1","B=2"]"#);
    assert_eq!(rendered("{{.Config.Env | json}}"), r#"["A=1","B=2"]"#);
    assert_eq!(rendered("{{index .Config.Labels \"z.last\"}}{{index .Config.Env 0}}"), "2A=1");
    assert_eq!(rendered("[{{index .Config.Labels \"none\"}}]"), "[]");
    assert_eq!(rendered("{{len .Config.Env}} {{upper .ID}} {{join .Config.Env \", \"}}"), "2 SHA256:12 A=1, B=2");
    assert_eq!(rendered("{{(index .Names 0) | upper}}"), "X");
    assert_eq!(rendered("{{index (split .ID \":\") 1}}"), "12");
    assert_eq!(rendered("{{printf \"%-6s|%5d|%q\" \"ab\" .Size .ID}}"), "ab    | 1234|\"sha256:12\"");
    assert_eq!(rendered("{{println .ID 1}}"), "sha256:12 1\n");
}

#[test]
fn blocks() {
    assert_eq!(rendered("{{range .Config.Env}}<{{.}}>{{end}}"), "<A=1><B=2>");
    assert_eq!(rendered("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}"), "a.first=1;z.last=2;");
    assert_eq!(rendered("{{range $i, $v := .Names}}{{if $i}},{{end}}{{$v}}{{$.Size}}{{end}}"), "x1234");
    assert_eq!(rendered("{{range .Config.Cmd}}x{{else}}none{{end}}"), "none");
    assert_eq!(rendered("{{if .Config.Tty}}a{{else if eq .Size 1234}}b{{else}}c{{end}}"), "b");
    assert_eq!(rendered("{{with .Config}}{{.Tty}}{{end}}"), "false");
    assert_eq!(rendered("{{if and .ID (not .Config.Tty)}}yes{{end}}"), "yes");
    assert_eq!(rendered("{{$x := .Size}}{{$x}}"), "1234");
    assert_eq!(rendered("a  {{- /* trimmed */ -}}  b"), "ab");
}

#[test]
fn mistakes_are_named_and_placed() {
    assert_eq!(rendered("ab{{.ID"), "template, character 3: `{{` is not closed by `}}`");
    assert_eq!(
        rendered("{{.Config.Foo}}"),
        "template, character 3: there is no field `Foo` here, only Cmd, Env, Labels, Tty"
    );
    assert_eq!(rendered("{{.Size.Foo}}"), "template, character 3: there is no field `Foo` in a number");
    assert_eq!(rendered("{{if .ID}}x"), "template, character 1: `if` is not closed by `{{end}}`");
    assert_eq!(rendered("{{end}}"), "template, character 1: `end` without a block");
    assert_eq!(
        rendered("{{template \"x\"}}"),
        "template, character 3: `template` is not supported in stave's templates"
    );
    assert_eq!(
        rendered("{{index .Config.Env 7}}"),
        "template, character 3: index 7 is out of range: there are 2 items"
    );
    assert!(rendered("{{nope .ID}}").starts_with("template, character 3: no function is named `nope`"));
    assert!(rendered(&"{{if .ID}}".repeat(1000)).contains("nested too deeply"));
    assert!(rendered("{{.ID | .Size}}").contains("cannot take the result of a pipe"));
    assert!(rendered("{{$nope}}").contains("no variable is named `$nope`"));
}

/// I013: what a Go map does not have is no mistake, and what Docker leaves out of its JSON is empty.
#[test]
fn what_is_not_there_is_empty_where_it_is_for_docker() {
    assert_eq!(rendered("[{{.Config.Labels.nope}}]"), "[<no value>]");
    assert_eq!(rendered("{{if .Config.Labels.nope}}a{{else}}b{{end}}"), "b");
    assert_eq!(rendered("[{{range $p, $c := .Config.ExposedPorts}}x{{end}}{{.Config.StopSignal}}]"), "[]");
    assert_eq!(rendered("{{if .Config.Healthcheck}}a{{else}}b{{end}}{{.Config.Healthcheck}}"), "b<nil>");
    assert_eq!(rendered("{{json .Config}}").matches("Healthcheck").count(), 0);
    assert!(rendered("{{.Labels.nope}}").contains("there is no field `Labels` here"));
    assert!(rendered("{{.Healthcheck}}").contains("there is no field `Healthcheck` here"));
}

#[test]
fn parts_of_texts_and_lists() {
    assert_eq!(rendered("{{slice .ID 7}} {{slice .ID 0 6}} {{slice .Config.Env 1}}"), "12 sha256 [B=2]");
    assert_eq!(rendered("{{printf \"%.4s|%8.3s|%t|%T\" .ID .ID .Config.Tty .Size}}"), "sha2|     sha|false|int64");
    assert_eq!(rendered("{{slice .ID 99}}"), "template, character 3: index 99 is out of range: there are 9 items");
    assert_eq!(rendered("{{slice .ID 3 2}}"), "template, character 3: `slice`: index 3 is after 2");
    assert_eq!(rendered("{{printf \"%x\" 1}}"), "template, character 3: `printf`: `%x` is not supported");
}

#[test]
fn no_text_makes_it_panic() {
    let pieces = [
        "{{", "}}", ".", "$", "a", "\"", "`", "(", ")", "|", ",", ":=", "if ", "end", "else", "range ", "-", " ", "1",
        "\\",
    ];
    // Every sequence of three pieces.
    for number in 0..pieces.len().pow(3) {
        let text: String = (0..3).map(|place| pieces[number / pieces.len().pow(place) % pieces.len()]).collect();
        if let Ok(template) = Template::parse(&text) {
            drop(template.render(&data()));
        }
        if let Ok(template) = Template::parse(&format!("{{{{{text}}}}}")) {
            drop(template.render(&data()));
        }
    }
}

/// H042: a field has Go's name, and `json` prints the document's.
#[test]
fn fields_of_image_documents_have_gos_names() {
    let data = json!({ "Manifest": { "mediaType": "x", "rootfs": { "diff_ids": ["d"] }, "os.version": "10" } });
    let shown = |text: &str| Template::parse(text).expect("it is a template").render(&data).expect("it has the fields");
    assert_eq!(shown("{{.Manifest.MediaType}} {{.Manifest.RootFS.DiffIDs}} {{.Manifest.OSVersion}}"), "x [d] 10");
    assert_eq!(shown("{{json .Manifest.RootFS}}"), r#"{"diff_ids":["d"]}"#);
    assert!(Template::parse("{{.Manifest.mediatype}}").expect("it is one").render(&data).is_err());
}
