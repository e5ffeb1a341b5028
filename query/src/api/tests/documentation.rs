//! The examples of `docs/api.md` are asked, and answered as they say.

use serde_json::Value;

use super::questions::clicked;
use super::stage::{ask, post};

const DOCUMENT: &str = include_str!("../../../../docs/api.md");

/// An example: what is sent to `curl`, and what it says is answered.
struct Example {
    place: String,
    body: Option<Value>,
    answer: Value,
}

fn examples() -> Vec<Example> {
    let mut blocks = DOCUMENT.split("```").skip(1).step_by(2);
    let mut examples = Vec::new();
    while let Some(block) = blocks.next() {
        let Some(command) = block.strip_prefix("sh\n").and_then(|block| block.strip_prefix("curl ")) else { continue };
        let answer =
            blocks.next().and_then(|block| block.strip_prefix("json\n")).expect("an answer follows a question");
        let quoted: Vec<&str> = command.split('\'').skip(1).step_by(2).collect();
        examples.push(Example {
            place: quoted[0].strip_prefix("http://127.0.0.1:8080").unwrap().to_owned(),
            body: quoted.get(1).map(|body| serde_json::from_str(body).unwrap()),
            answer: serde_json::from_str(answer).unwrap(),
        });
    }
    examples
}

/// Whether all that is said is so; a document may leave things out, but not of a list.
fn holds(said: &Value, so: &Value) -> Result<(), String> {
    match (said, so) {
        (Value::Object(said), Value::Object(so)) => said.iter().try_for_each(|(name, value)| {
            let so = so.get(name).ok_or_else(|| format!("there is no `{name}`"))?;
            holds(value, so).map_err(|why| format!("{name}: {why}"))
        }),
        (Value::Array(said), Value::Array(so)) if said.len() == so.len() => {
            said.iter().zip(so).try_for_each(|(said, so)| holds(said, so))
        }
        _ if said == so => Ok(()),
        _ => Err(format!("{said} is said, {so} is so")),
    }
}

#[tokio::test]
async fn documented_questions_have_the_documented_answers() {
    let stage = clicked().await;
    let examples = examples();
    assert!(examples.len() >= 9, "only {} examples were found", examples.len());
    for Example { place, body, answer } in examples {
        let (_, found) = match &body {
            Some(body) => post(&stage.router, &place, body).await,
            None => ask(&stage.router, &place).await,
        };
        holds(&answer, &found).unwrap_or_else(|why| panic!("{place}: {why}: {found}"));
    }
}
