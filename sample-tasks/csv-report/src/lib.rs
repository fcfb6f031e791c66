//! Files: writes a CSV file into `/scratch`, reads it back and sums it up, with a span for each
//! of the two.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};

use dacapo::prelude::*;

const PATH: &str = "/scratch/report.csv";

#[derive(Deserialize)]
struct Report {
    title: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    label: String,
    amount: f64,
}

fn csv_report(_: &Context, report: Report) -> Result<Value> {
    span("write").attribute("rows", report.rows.len()).run(|| write(&report.rows))?;
    let sum = span("sum").run(sum)?;
    info!(rows = report.rows.len(), sum = sum; "wrote {PATH}");
    let summary = json!({ "title": report.title, "rows": report.rows.len(), "sum": sum });
    Ok(json!({ "summary": summary, "csv": std::fs::read_to_string(PATH)? }))
}

fn write(rows: &[Row]) -> Result<()> {
    let mut file = BufWriter::new(File::create(PATH)?);
    writeln!(file, "label,amount")?;
    for row in rows {
        writeln!(file, "\"{}\",{}", row.label.replace('"', "\"\""), row.amount)?;
    }
    Ok(file.flush()?)
}

fn sum() -> Result<f64> {
    let mut sum = 0.0;
    for line in BufReader::new(File::open(PATH)?).lines().skip(1) {
        let line = line?;
        let (_, amount) = line.rsplit_once(',').unwrap_or_default();
        sum += amount.parse::<f64>()?;
    }
    Ok(sum)
}

dacapo::tasks![task("csv-report", csv_report).description("Makes a CSV report of rows.")];
