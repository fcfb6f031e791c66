// A run as others would make it: curl, the command line, the SDK. Pure. They contain no key: where
// one is needed, the text names the variable that holds it.

import { formatJson } from '../../api/exact';
import type { RunDetails } from '../../api/types';

const shell = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The options that the new run would share with this one. */
function options(run: RunDetails): Record<string, unknown> {
  return {
    ...(run.tags.length > 0 ? { tags: run.tags } : {}),
    ...(run.metadata !== undefined && run.metadata !== null ? { metadata: run.metadata } : {}),
    ...(run.queue === `task/${run.taskIdentifier}` ? {} : { queue: { name: run.queue } }),
    ...(run.isTest ? { test: true } : {}),
  };
}

export function asCurl(run: RunDetails, origin: string): string {
  const body = formatJson({ payload: run.payload ?? null, options: options(run) }, 0);
  const url = `${origin}/api/v1/tasks/${encodeURIComponent(run.taskIdentifier)}/trigger`;
  return [
    `curl -X POST ${shell(url)}`,
    `  -H "authorization: Bearer $TRIGGER_SECRET_KEY"`,
    `  -H 'content-type: application/json'`,
    `  -d ${shell(body)}`,
  ].join(' \\\n');
}

export function asCommand(run: RunDetails): string {
  const tags = run.tags.map((tag) => ` --tag ${shell(tag)}`).join('');
  return `dacapo trigger ${shell(run.taskIdentifier)} ${shell(formatJson(run.payload ?? null, 0))}${tags}`;
}

export function asSdk(run: RunDetails): string {
  const more = options(run);
  const last = Object.keys(more).length > 0 ? `, ${formatJson(more)}` : '';
  return [
    `import { tasks } from "@trigger.dev/sdk";`,
    ``,
    `await tasks.trigger(${JSON.stringify(run.taskIdentifier)}, ${formatJson(run.payload ?? null)}${last});`,
  ].join('\n');
}

export function asReplay(run: RunDetails): string {
  return `dacapo runs replay ${run.id}`;
}
