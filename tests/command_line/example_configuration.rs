//! `config/fcdd.toml` is true: it is accepted, what it shows as defaults are the defaults, and no field is missing.

use fcdd::config::Config;

const EXAMPLE: &str = include_str!("../../config/fcdd.toml");

/// The example with its commented fields switched on: `# field = ...` and `# [table]`, but no prose.
fn with_comments_switched_on() -> String {
    let field = regex::Regex::new(r"(?m)^# (\[|[a-z_]+ = )").unwrap();
    field.replace_all(EXAMPLE, "$1").into_owned()
}

#[test]
fn the_example_shows_the_defaults() {
    let example: Config = toml::from_str(EXAMPLE).unwrap();
    // The fields that have no default or whose default is built in, as the example has them.
    let without_defaults = format!(
        "version = 1\n[receive]\nae_title = {:?}\n[spool]\ndirectory = {:?}\n[assemble]\nsequences = {:?}\n\
         [report]\ntemplates = {:?}\n[analyze]\nmodels = {:?}\nonnxruntime = {:?}\n",
        example.receive.ae_title,
        example.spool.directory,
        example.assemble.sequences.as_ref().unwrap(),
        example.report.templates.as_ref().unwrap(),
        example.analyze.models,
        example.analyze.onnxruntime.as_ref().unwrap()
    );
    let defaults: Config = toml::from_str(&without_defaults).unwrap();
    assert_eq!(format!("{example:#?}"), format!("{defaults:#?}"));
}

#[test]
fn the_commented_destination_shows_the_defaults() {
    let example: Config = toml::from_str(&with_comments_switched_on()).unwrap();
    let shown = &example.destinations["pacs"];
    let minimal =
        EXAMPLE.to_owned() + "[destination.pacs]\nae_title = \"PACS\"\nhost = \"pacs.example.org\"\nport = 104\n";
    let defaults: Config = toml::from_str(&minimal).unwrap();
    let mut expected = defaults.destinations["pacs"].clone();
    expected.calling_ae_title = Some("FCDD".into());
    expected.only_study_description = Some("epilep".into());
    assert_eq!(format!("{shown:#?}"), format!("{expected:#?}"));
    assert_eq!(example.assemble.admission.len(), 1);
}

#[test]
fn the_commented_research_and_mail_show_the_defaults() {
    let example: Config = toml::from_str(&with_comments_switched_on()).unwrap();
    let mut research = example.research.clone();
    [research.secret_file, research.archive, research.runs, research.models, research.cache] = Default::default();
    assert_eq!(format!("{research:#?}"), format!("{:#?}", fcdd::config::Research::default()));
    let mut mail = example.mail.clone().unwrap();
    assert_eq!(mail.port.take(), Some(fcdd::config::Mail::default().port()));
    (mail.user, mail.password_file) = (None, None);
    (mail.host, mail.from, mail.to) = Default::default();
    assert_eq!(format!("{mail:#?}"), format!("{:#?}", fcdd::config::Mail::default()));
    assert!(toml::from_str::<Config>(EXAMPLE).unwrap().mail.is_none(), "nothing is sent by default");
    if let Err(mistakes) = Config::parse(&with_comments_switched_on(), std::path::Path::new("")) {
        panic!("{mistakes:#?}");
    }
}

#[test]
fn the_example_names_every_field() {
    let example: toml::Table = with_comments_switched_on().parse().unwrap();
    for path in [
        &[][..],
        &["receive"],
        &["spool"],
        &["assemble"],
        &["assemble", "admission"],
        &["analyze"],
        &["report"],
        &["destination", "pacs"],
        &["research"],
        &["mail"],
        &["observe"],
    ] {
        for field in fields_of(&example, path) {
            let shown = table_at(&mut example.clone(), path).contains_key(&field);
            assert!(shown, "config/fcdd.toml does not show {field} of {path:?}");
        }
    }
}

/// The fields that the configuration knows in a table, as it lists them when it meets an unknown one.
fn fields_of(example: &toml::Table, path: &[&str]) -> Vec<String> {
    let mut changed = example.clone();
    table_at(&mut changed, path).insert("no-such-field".to_owned(), 0.into());
    let error = toml::from_str::<Config>(&changed.to_string()).expect_err("the field does not exist").to_string();
    let (_, listed) = error.split_once("expected one of ").unwrap_or_else(|| panic!("{path:?}: {error}"));
    let fields: Vec<String> = listed.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(fields.len() > 2, "{error}");
    fields
}

fn table_at<'t>(root: &'t mut toml::Table, path: &[&str]) -> &'t mut toml::Table {
    path.iter().fold(root, |table, part| match &mut table[*part] {
        toml::Value::Array(items) => items[0].as_table_mut().unwrap(),
        value => value.as_table_mut().unwrap(),
    })
}
