// Environments: where their tasks may connect to, how much runs at a time; and the keys that open them.

import { useState } from 'preact/hooks';
import { put } from '../../api/client';
import type { EnvironmentItem } from '../../api/types';
import { count } from '../../core/format';
import { environments, loadEnvironments } from '../../core/session';
import { pathTo } from '../../core/router';
import { Confirm } from '../../ui/Dialog';
import { Field, TextField } from '../../ui/Field';
import { Page, Section } from '../../ui/Page';
import { Table, type Column } from '../../ui/Table';
import { GateDialog } from './GateDialog';
import { Keys } from './Keys';

type Open = { kind: 'egress' | 'limit' | 'gate'; item: EnvironmentItem };

export function EnvironmentsPage() {
  const [open, setOpen] = useState<Open>();
  const columns: Column<EnvironmentItem>[] = [
    { title: 'Environment', cell: (item) => item.slug },
    { title: 'Kind', cell: (item) => <span class="faint">{item.branch ? 'branch' : item.type.toLowerCase()}</span> },
    { title: 'Waiting', cell: (item) => count(item.waitingRuns), isNumber: true },
    {
      title: 'At a time',
      cell: (item) => (item.concurrencyLimit ? count(item.concurrencyLimit) : <span class="faint">no limit</span>),
      isNumber: true,
    },
    { title: 'Egress: hosts its tasks may reach', cell: (item) => <Egress rules={item.egress} />, isWide: true },
    {
      title: 'Gate',
      cell: (item) =>
        item.backtestPolicy ? `last ${count(item.backtestPolicy.last ?? 1_000)} runs` : <span class="faint">none</span>,
      isNamed: true,
    },
    {
      title: 'Actions',
      isTitleHidden: true,
      cell: (item) => (
        <span class="actions">
          <button type="button" class="quiet" onClick={() => setOpen({ kind: 'egress', item })}>
            Egress
          </button>
          <button type="button" class="quiet" onClick={() => setOpen({ kind: 'limit', item })}>
            Limit
          </button>
          <button type="button" class="quiet" onClick={() => setOpen({ kind: 'gate', item })}>
            Gate
          </button>
        </span>
      ),
    },
  ];
  return (
    <Page title="Environments">
      <Table
        label="Environments"
        columns={columns}
        rows={environments.value}
        keyOf={(item) => item.id}
        linkOf={(item) => pathTo(item.slug, 'runs')}
      />
      <Section title="API keys">
        <Keys />
      </Section>
      {open?.kind === 'egress' && <EgressDialog item={open.item} onClose={() => setOpen(undefined)} />}
      {open?.kind === 'gate' && <GateDialog item={open.item} onClose={() => setOpen(undefined)} />}
      {open?.kind === 'limit' && <LimitDialog item={open.item} onClose={() => setOpen(undefined)} />}
    </Page>
  );
}

function Egress({ rules }: { rules: readonly string[] }) {
  if (rules.length === 0) return <span class="faint">none</span>;
  return (
    <>
      {rules.map((rule) => (
        <code key={rule} class="tag">
          {rule}
        </code>
      ))}
    </>
  );
}

function EgressDialog({ item, onClose }: { item: EnvironmentItem; onClose: () => void }) {
  const [text, setText] = useState(item.egress.join('\n'));
  const save = async () => {
    const rules = text
      .split('\n')
      .map((rule) => rule.trim())
      .filter(Boolean);
    await put('/admin/v1/environments/{environment}/egress', { path: { environment: item.slug }, body: { rules } });
    await loadEnvironments();
    return 'The rules were saved. They count from the next connection on.';
  };
  return (
    <Confirm title={`Egress of ${item.slug}`} verb="Save" run={save} onClose={onClose}>
      <Field label="Hosts, one a line" hint="Such as api.example.com, *.example.com or *. Nothing: no host at all.">
        {(attributes) => (
          <textarea {...attributes} class="mono" rows={8} value={text} onInput={(event) => setText(event.currentTarget.value)} />
        )}
      </Field>
    </Confirm>
  );
}

function LimitDialog({ item, onClose }: { item: EnvironmentItem; onClose: () => void }) {
  const [text, setText] = useState(item.concurrencyLimit ? String(item.concurrencyLimit) : '');
  const save = async () => {
    const body = text === '' ? {} : { limit: Number(text) };
    await put('/admin/v1/environments/{environment}/concurrency', { path: { environment: item.slug }, body });
    await loadEnvironments();
    return 'The limit was saved.';
  };
  return (
    <Confirm title={`Limit of ${item.slug}`} verb="Save" run={save} onClose={onClose}>
      <TextField
        label="Runs that execute at a time"
        value={text}
        onInput={setText}
        hint="Empty: as many as the workers take."
        input={{ type: 'number', min: 1, max: 100_000 }}
      />
    </Confirm>
  );
}
