// Wait tokens: what runs wait for until somebody answers; here, somebody can.

import { useState } from 'preact/hooks';
import { get, post } from '../../api/client';
import { parseJson } from '../../api/exact';
import type { WaitpointItem } from '../../api/types';
import { shortId } from '../../core/format';
import { useQuery } from '../../core/query';
import { address, query, setQuery } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { Copy, Id } from '../../ui/Copy';
import { Confirm } from '../../ui/Dialog';
import { jsonComplaint } from '../../ui/Editor';
import { EditorField } from '../../ui/EditorField';
import { Json } from '../../ui/Json';
import { Facts, Page, Section } from '../../ui/Page';
import { pageQuery, Pager } from '../../ui/Pager';
import { Empty, Loaded } from '../../ui/states';
import { Badge, SHAPES } from '../../ui/Status';
import { Table, type Column } from '../../ui/Table';
import { Time } from '../../ui/Time';

const EVERY_MS = 3_000;

function TokenState({ of }: { of: WaitpointItem }) {
  switch (of.status) {
    case 'WAITING':
      return <Badge tone="waiting" word="Waiting" shape={SHAPES.paused} />;
    case 'COMPLETED':
      return <Badge tone="good" word="Completed" shape={SHAPES.done} />;
    case 'TIMED_OUT':
      return <Badge tone="bad" word="Timed out" shape={SHAPES.late} />;
  }
}

const COLUMNS: Column<WaitpointItem>[] = [
  { title: 'Token', cell: (token) => <code>{shortId(token.id)}</code> },
  { title: 'Status', cell: (token) => <TokenState of={token} /> },
  {
    title: 'Tags',
    cell: (token) =>
      token.tags.map((tag) => (
        <span key={tag} class="tag">
          {tag}
        </span>
      )),
    isWide: true,
  },
  { title: 'Made', cell: (token) => <Time at={token.createdAt} /> },
  { title: 'Times out', cell: (token) => (token.timeoutAt ? <Time at={token.timeoutAt} /> : <span class="faint">never</span>) },
  { title: 'Ended', cell: (token) => <Time at={token.completedAt ?? undefined} /> },
];

const STATUSES = [
  ['', 'All'],
  ['WAITING', 'Waiting'],
  ['COMPLETED', 'Completed'],
  ['TIMED_OUT', 'Timed out'],
] as const;

export function TokensPage() {
  const status = query.value.get('status') ?? '';
  const asked = { ...pageQuery(50), 'filter[status]': status };
  const found = useQuery(
    `${environment.value?.slug}${address.value}`,
    (signal) => get('/api/v1/waitpoints/tokens', { query: asked, signal }),
    {
      every: () => EVERY_MS,
    },
  );
  return (
    <Page
      title="Wait tokens"
      actions={
        <select
          aria-label="Status"
          value={status}
          onChange={(event) => setQuery({ status: event.currentTarget.value, after: undefined, before: undefined })}
        >
          {STATUSES.map(([value, label]) => (
            <option key={value} value={value}>
              {label}
            </option>
          ))}
        </select>
      }
    >
      <Loaded query={found}>
        {(page) =>
          page.data.length === 0 ? (
            <Empty title={status ? 'No token has this status' : 'No wait tokens yet'}>
              <p>
                A task makes one with its wait interface and waits for it; whoever completes it, here or over its URL, lets the
                run go on.
              </p>
            </Empty>
          ) : (
            <>
              <Table
                label="Wait tokens"
                columns={COLUMNS}
                rows={page.data}
                keyOf={(token) => token.id}
                linkOf={(token) => pathIn('tokens', token.id)}
                keyboard="List"
              />
              <Pager pagination={page.pagination} />
            </>
          )
        }
      </Loaded>
    </Page>
  );
}

export function TokenPage({ id }: { id: string }) {
  const slug = environment.value?.slug;
  const [isCompleting, setCompleting] = useState(false);
  const found = useQuery(
    slug && `${slug}/token/${id}`,
    (signal) => get('/api/v1/waitpoints/tokens/{token}', { path: { token: id }, signal }),
    {
      every: (token) => (token.status === 'WAITING' ? EVERY_MS : undefined),
    },
  );
  const token = found.data;
  return (
    <Page
      title="Wait token"
      up={[pathIn('tokens'), 'Wait tokens']}
      beside={
        <>
          {token && <TokenState of={token} />}
          <Id id={id} />
        </>
      }
      actions={
        token?.status === 'WAITING' && (
          <button type="button" class="primary" onClick={() => setCompleting(true)}>
            Complete it
          </button>
        )
      }
    >
      <Loaded query={found}>
        {(loaded) => (
          <>
            <Facts
              items={[
                ['Made', <Time at={loaded.createdAt} />],
                ['Times out', loaded.timeoutAt ? <Time at={loaded.timeoutAt} /> : 'never'],
                ['Ended', <Time at={loaded.completedAt ?? undefined} />],
                [
                  'Tags',
                  loaded.tags.length > 0
                    ? loaded.tags.map((tag) => (
                        <span key={tag} class="tag">
                          {tag}
                        </span>
                      ))
                    : 'none',
                ],
                [
                  'URL',
                  <>
                    A <code>POST</code> to its URL completes it, without a key. <Copy text={loaded.url} label="the URL" />
                    {loaded.status === 'WAITING' && (
                      <pre class="panel">{`curl -X POST '${loaded.url}' -H 'content-type: application/json' -d '{}'`}</pre>
                    )}
                  </>,
                ],
                ...(loaded.idempotencyKey ? [['Idempotency key', <code>{loaded.idempotencyKey}</code>] as const] : []),
              ]}
            />
            {loaded.output !== undefined && (
              <Section title={loaded.outputIsError ? 'Why nobody completed it' : 'Completed with'}>
                <Json value={shown(loaded.output)} label="the output" />
              </Section>
            )}
          </>
        )}
      </Loaded>
      {isCompleting && <CompleteDialog id={id} onDone={found.reload} onClose={() => setCompleting(false)} />}
    </Page>
  );
}

function shown(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return text;
  }
}

function CompleteDialog({ id, onDone, onClose }: { id: string; onDone: () => void; onClose: () => void }) {
  const [text, setText] = useState('{}');
  const complaint = text.trim() === '' ? undefined : jsonComplaint(text);
  const complete = async () => {
    if (complaint) throw new Error(complaint);
    const bodyText = text.trim() === '' ? '{}' : `{"data":${text}}`;
    await post('/api/v1/waitpoints/tokens/{token}/complete', { path: { token: id }, bodyText });
    onDone();
    return 'The token was completed: runs that wait for it go on.';
  };
  return (
    <Confirm title="Complete this token?" verb="Complete" run={complete} onClose={onClose}>
      <EditorField
        label="With this JSON"
        initial="{}"
        onInput={setText}
        note={complaint ?? 'What the waiting runs are given. A token can be completed once.'}
        isWrong={complaint !== undefined}
      />
    </Confirm>
  );
}
