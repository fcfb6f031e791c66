// The report of a backtest as a file.

import { context, urlOf } from '../../api/client';
import { saveBlob } from '../../core/file';

const ENDINGS = { json: 'json', junit: 'xml', html: 'html' } as const;

/** Asks the server for the report and hands it to the browser as a download. */
export async function saveReport(id: string, format: keyof typeof ENDINGS): Promise<string> {
  const url = urlOf('/api/v1/backtests/{backtest}/report', { path: { backtest: id }, query: { format } });
  const response = await fetch(url, { headers: { 'x-dacapo-environment': context.environment ?? '' } });
  if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
  saveBlob(`${id}.${ENDINGS[format]}`, await response.blob());
  return 'The report was saved.';
}
