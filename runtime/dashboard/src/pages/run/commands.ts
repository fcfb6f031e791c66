// A run as others would make it: curl, the command line, the SDK. Pure. They contain no key: where
// one is needed, the text names the variable that holds it.

import { formatJson } from '../../api/exact';
import type { RunDetails } from '../../api/types';

const shell = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The options that the new run would share with this one: what its trigger named. */
function options(run: RunDetails): Record<string, unknown> {
  const { queue, concurrencyKey, machine, maxAttempts, maxDuration, ttl, priority } = run;
  return {
    ...(run.tags.length > 0 ? { tags: run.tags } : {}),
    ...(run.metadata !== undefined && run.metadata !== null ? { metadata: run.metadata } : {}),
    ...(queue === `task/${run.taskIdentifier}` ? {} : { queue: { name: queue } }),
    ...(concurrencyKey === undefined ? {} : { concurrencyKey }),
    ...(machine === undefined ? {} : { machine }),
    ...(maxAttempts === undefined ? {} : { maxAttempts }),
    ...(maxDuration === undefined ? {} : { maxDuration }),
    ...(ttl === undefined ? {} : { ttl }),
    ...(priority === 0 ? {} : { priority }),
    ...(run.isTest ? { test: true } : {}),
  };
}

export function asCurl(run: RunDetails, origin: string): string {
  const body = formatJson({ payload: run.payload, options: options(run) }, 0);
  const url = `${origin}/api/v1/tasks/${encodeURIComponent(run.taskIdentifier)}/trigger`;
  return [
    `curl -X POST ${shell(url)}`,
    `  -H "authorization: Bearer $TRIGGER_SECRET_KEY"`,
    `  -H 'content-type: application/json'`,
    `  -d ${shell(body)}`,
  ].join(' \\\n');
}

/** `slug` is the environment: the command line takes `dev` unless it is told. */
export function asCommand(run: RunDetails, slug: string): string {
  const { queue, metadata, test, tags: _, ...others } = options(run);
  const flag = (name: string, value: unknown) => ` --${name} ${shell(typeof value === 'string' ? value : formatJson(value, 0))}`;
  return [
    `dacapo trigger ${shell(run.taskIdentifier)}`,
    run.payload === undefined ? '' : ` ${shell(formatJson(run.payload, 0))}`,
    environmentFlags(slug),
    queue === undefined ? '' : flag('queue', run.queue),
    metadata === undefined ? '' : flag('metadata', metadata),
    ...Object.entries(others).map(([name, value]) =>
      flag(
        name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
        value,
      ),
    ),
    test ? ' --test' : '',
    ...run.tags.map((tag) => flag('tag', tag)),
  ].join('');
}

const ENVIRONMENTS: Record<string, string> = { stg: 'staging', prod: 'production' };

function environmentFlags(slug: string): string {
  const [name = slug, ...branch] = slug.split('/');
  if (name === 'dev' && branch.length === 0) return '';
  return ` --environment ${ENVIRONMENTS[name] ?? name}${branch.length > 0 ? ` --branch ${shell(branch.join('/'))}` : ''}`;
}

export function asSdk(run: RunDetails): string {
  const more = options(run);
  const last = Object.keys(more).length > 0 ? `, ${formatJson(more)}` : '';
  const payload = run.payload === undefined ? 'undefined' : formatJson(run.payload);
  return [
    `import { tasks } from "@trigger.dev/sdk";`,
    ``,
    `await tasks.trigger(${JSON.stringify(run.taskIdentifier)}, ${payload}${last});`,
  ].join('\n');
}

export function asReplay(run: RunDetails): string {
  return `dacapo runs replay ${run.id}`;
}
