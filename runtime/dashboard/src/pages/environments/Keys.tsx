// API keys: made, shown once, revoked.

import { useState } from 'preact/hooks';
import { del, get, post } from '../../api/client';
import type { ApiKeyItem } from '../../api/types';
import { useQuery } from '../../core/query';
import { environments } from '../../core/session';
import { Copy } from '../../ui/Copy';
import { Confirm, Dialog } from '../../ui/Dialog';
import { SelectField } from '../../ui/Field';
import { Icon } from '../../ui/Icon';
import { Empty, Loaded } from '../../ui/states';
import { Badge, SHAPES } from '../../ui/Status';
import { Table, type Column } from '../../ui/Table';
import { Time } from '../../ui/Time';

type Open = { kind: 'new' } | { kind: 'revoke'; item: ApiKeyItem } | { kind: 'made'; key: string; slug: string };

export function Keys() {
  const [open, setOpen] = useState<Open>();
  const found = useQuery('keys', (signal) => get('/admin/v1/keys', { signal }));
  /** A dialog that is done does not close the one that has followed it. */
  const close = (kind: Open['kind']) => () => setOpen((now) => (now?.kind === kind ? undefined : now));
  const columns: Column<ApiKeyItem>[] = [
    { title: 'Key', cell: (item) => <code>{item.hint}</code> },
    { title: 'Opens', cell: (item) => item.environment },
    {
      title: 'State',
      cell: (item) =>
        item.revokedAt ? (
          <Badge tone="idle" word="Revoked" shape={SHAPES.stopped} />
        ) : (
          <Badge tone="good" word="Valid" shape={SHAPES.done} />
        ),
      isWide: true,
    },
    { title: 'Made', cell: (item) => <Time at={item.createdAt} /> },
    { title: 'Revoked', cell: (item) => <Time at={item.revokedAt ?? undefined} /> },
    {
      title: 'Actions',
      isTitleHidden: true,
      cell: (item) =>
        !item.revokedAt && (
          <button type="button" class="quiet" onClick={() => setOpen({ kind: 'revoke', item })}>
            Revoke
          </button>
        ),
    },
  ];
  return (
    <>
      <div class="actions before">
        <button type="button" onClick={() => setOpen({ kind: 'new' })}>
          <Icon name="plus" />
          New key
        </button>
      </div>
      <Loaded query={found}>
        {(list) =>
          list.data.length === 0 ? (
            <Empty title="No keys yet">
              <p>Clients and the command line need one: make it here.</p>
            </Empty>
          ) : (
            <Table label="API keys" columns={columns} rows={list.data} keyOf={(item) => item.id} />
          )
        }
      </Loaded>
      {open?.kind === 'new' && (
        <NewKey onMade={(key, slug) => setOpen({ kind: 'made', key, slug })} onDone={found.reload} onClose={close('new')} />
      )}
      {open?.kind === 'made' && <MadeKey secret={open.key} slug={open.slug} onClose={close('made')} />}
      {open?.kind === 'revoke' && <Revoke item={open.item} onDone={found.reload} onClose={close('revoke')} />}
    </>
  );
}

interface NewKeyProps {
  onMade: (key: string, slug: string) => void;
  onDone: () => void;
  onClose: () => void;
}

function NewKey({ onMade, onDone, onClose }: NewKeyProps) {
  const slugs = environments.value.filter((item) => !item.branch).map((item) => item.slug);
  const [slug, setSlug] = useState(slugs[0] ?? 'dev');
  const [kind, setKind] = useState('root');
  const create = async () => {
    const answer = await post('/admin/v1/keys', { body: { environment: slug, additional: kind === 'additional' } });
    onDone();
    onMade(answer.key, slug);
  };
  return (
    <Confirm title="New API key" verb="Make it" run={create} onClose={onClose}>
      <SelectField
        label="Environment"
        value={slug}
        onChange={setSlug}
        options={slugs.map((name) => [name, name] as const)}
        hint="Branches are opened by the key of their parent."
      />
      <SelectField
        label="Kind"
        value={kind}
        onChange={setKind}
        options={[
          ['root', 'Root key: signs public access tokens itself'],
          ['additional', 'Additional key: the server signs for its holder'],
        ]}
      />
    </Confirm>
  );
}

/** The only time it is seen; it leaves the page with the dialog. */
function MadeKey({ secret, slug, onClose }: { secret: string; slug: string; onClose: () => void }) {
  return (
    <Dialog title={`The new key of ${slug}`} onClose={onClose}>
      <div class="stack">
        <p>Copy it now: it is not shown again.</p>
        <p class="panel id">
          <code>{secret}</code>
          <Copy text={secret} label="the key" />
        </p>
        <div class="actions">
          <button type="button" class="primary" onClick={onClose}>
            I have it
          </button>
        </div>
      </div>
    </Dialog>
  );
}

function Revoke({ item, onDone, onClose }: { item: ApiKeyItem; onDone: () => void; onClose: () => void }) {
  const revoke = async () => {
    await del('/admin/v1/keys/{key}', { path: { key: item.id } });
    onDone();
    return 'The key opens nothing any more.';
  };
  return (
    <Confirm title="Revoke this key?" verb="Revoke" isDangerous run={revoke} onClose={onClose}>
      <p>
        <code>{item.hint}</code> of <b>{item.environment}</b>, and all public access tokens that it has signed, open nothing from
        then on.
      </p>
    </Confirm>
  );
}
