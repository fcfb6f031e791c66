// The report of a backtest as a file.

import { context, urlOf } from '../../api/client';

const ENDINGS = { json: 'json', junit: 'xml', html: 'html' } as const;

/** Asks the server for the report and hands it to the browser as a download. */
export async function saveReport(id: string, format: keyof typeof ENDINGS): Promise<string> {
  const url = urlOf('/api/v1/backtests/{backtest}/report', { path: { backtest: id }, query: { format } });
  const response = await fetch(url, { headers: { 'x-dacapo-environment': context.environment ?? '' } });
  if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await response.blob());
  link.download = `${id}.${ENDINGS[format]}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return 'The report was saved.';
}
