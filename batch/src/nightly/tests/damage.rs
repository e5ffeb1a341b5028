//! Tables that another tool wrote into, that a newer version made, or whose files are damaged.

use super::*;
use crate::table::Table;

async fn raw(world: &World) -> Table {
    world.lake.table(click_event::definition()).await.unwrap()
}

async fn archived_world(seed: u64) -> World {
    let mut world = World::new(seed).await;
    world.archive_through(START).await;
    world.send(40).await;
    world.archive_through(START.next()).await;
    world
}

/// Where an object of a table lies.
fn file(world: &World, table: &str, path: &str) -> std::path::PathBuf {
    world.folder.path().join("lake/tables").join(table).join(path)
}

/// Writes the next commit of a table by hand.
fn commit(world: &World, table: &str, lines: &str) {
    let log = file(world, table, "_delta_log");
    let next = std::fs::read_dir(&log)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension() == Some("json".as_ref()))
        .count();
    std::fs::write(log.join(format!("{next:020}.json")), lines).unwrap();
}

async fn run(world: &World) -> Result<Outcome, BatchError> {
    world.nightly(None).run(None).await
}

#[tokio::test]
async fn file_that_is_damaged_or_gone_is_named_and_nothing_is_published_until_it_is_back() {
    let mut world = archived_world(21).await;
    let files = raw(&world).await.files().unwrap();
    let path = file(&world, "click_event", files[0].path.as_ref());
    let whole = std::fs::read(&path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    for damage in ["gone", "cut", "overwritten"] {
        match damage {
            "gone" => std::fs::remove_file(&path).unwrap(),
            "cut" => std::fs::write(&path, &whole[..whole.len() / 2]).unwrap(),
            _ => std::fs::write(&path, vec![7; whole.len()]).unwrap(),
        }
        let told = run(&world).await.unwrap_err().to_string();
        assert!(told.contains(&name), "{damage}: {told}");
        assert_eq!(world.lake.publications().latest().await.unwrap().unwrap().watermark, START, "{damage}");
        // Whoever does not need it goes on.
        world.send(10).await;
        world.archiver.step(Duration::from_millis(1)).await.unwrap();
    }
    std::fs::write(&path, &whole).unwrap();
    let hour = Hour(START.0 + 2);
    world.archive_through(hour).await;
    world.settle().await;
    world.check().await;
}

#[tokio::test]
async fn rows_that_another_tool_adds_to_the_raw_clicks_are_named_where_they_are_none_and_else_not_counted() {
    let mut world = archived_world(22).await;
    let place = "received_date=2026-05-10/part-0000.parquet";
    let add = serde_json::json!({"add": {"path": place, "size": 0, "modificationTime": 0,
        "partitionValues": {"received_date": "2026-05-10"}, "dataChange": true}});
    let path = file(&world, "click_event", place);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(&path, 1);
    commit(&world, "click_event", &add.to_string());
    let told = run(&world).await.unwrap_err().to_string();
    assert!(told.contains(place) && told.contains("linktide did not write it"), "{told}");
    // The archive goes on, and so does everything once the file has all columns: it has no place in the log that is counted.
    let columns = click_event::definition().file_schema().fields().len();
    write(&path, columns);
    world.send(20).await;
    world.archive_through(Hour(START.0 + 2)).await;
    world.settle().await;
    world.check().await;
}

/// Writes three rows with the first so many columns of raw clicks, from a life of the log that never was.
fn write(path: &std::path::Path, columns: usize) {
    let schema = click_event::definition().file_schema();
    let fields: Vec<_> = schema.fields().iter().take(columns).cloned().collect();
    let empty = |field: &Arc<deltalake::arrow::datatypes::Field>| {
        deltalake::arrow::compute::cast(&deltalake::arrow::array::Int64Array::from(vec![-1; 3]), field.data_type())
            .unwrap_or_else(|_| deltalake::arrow::array::new_null_array(field.data_type(), 3))
    };
    let arrays = fields.iter().map(empty).collect();
    let nullable = fields.iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
    let schema = Arc::new(deltalake::arrow::datatypes::Schema::new(nullable));
    let rows = deltalake::arrow::array::RecordBatch::try_new(Arc::clone(&schema), arrays).unwrap();
    let place = std::fs::File::create(path).unwrap();
    let mut writer = deltalake::parquet::arrow::ArrowWriter::try_new(place, schema, None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn file_that_another_tool_adds_to_a_rollup_is_named_and_nothing_is_published() {
    let mut world = archived_world(23).await;
    assert!(matches!(run(&world).await.unwrap(), Outcome::Published { .. }));
    let published = world.lake.publications().latest().await.unwrap();
    let add = r#"{"add":{"path":"event_month=2026-05/part-0000.parquet","size":0,"modificationTime":0,"partitionValues":{"event_month":"2026-05"},"dataChange":true}}"#;
    commit(&world, "link_stats_daily", add);
    world.send(20).await;
    world.archive_through(Hour(START.0 + 2)).await;
    let told = run(&world).await.unwrap_err().to_string();
    assert!(told.contains("link_stats_daily") && told.contains("part-0000.parquet"), "{told}");
    assert_eq!(world.lake.publications().latest().await.unwrap(), published);
}

#[tokio::test]
async fn table_of_an_older_or_newer_linktide_or_of_another_protocol_is_refused() {
    let metadata = |format: &str| {
        format!(
            r#"{{"metaData":{{"id":"x","format":{{"provider":"parquet","options":{{}}}},"schemaString":"{{\"type\":\"struct\",\"fields\":[{{\"name\":\"a\",\"type\":\"long\",\"nullable\":true,\"metadata\":{{}}}}]}}","partitionColumns":[],"configuration":{{"linktide.format":"{format}"}}}}}}"#
        )
    };
    let protocol = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#;
    for (lines, words) in [
        (metadata("1"), ["format 1", "older linktide"]),
        (metadata("3"), ["format 3", "newer linktide"]),
        (protocol.to_owned(), ["protocol 3", "another tool"]),
    ] {
        let world = archived_world(24).await;
        commit(&world, "click_event", &lines);
        let error = world.lake.table(click_event::definition()).await.err().unwrap();
        assert!(matches!(error, BatchError::Refused(_)), "{error}");
        assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    }
}
