// Environment variables of tasks. Secret ones can be written, never read.

import { useState } from 'preact/hooks';
import { del, get, post } from '../../api/client';
import type { VariableItem } from '../../api/types';
import { useQuery } from '../../core/query';
import { environment } from '../../core/session';
import { Confirm } from '../../ui/Dialog';
import { Field, TextField } from '../../ui/Field';
import { Icon } from '../../ui/Icon';
import { Page } from '../../ui/Page';
import { Empty, Loaded } from '../../ui/states';
import { Badge } from '../../ui/Status';
import { Table, type Column } from '../../ui/Table';

/** The API wants the name of a project; a server has one, whatever it is called. */
const PROJECT = 'dacapo';

type Open = { kind: 'set'; item?: VariableItem } | { kind: 'delete'; item: VariableItem } | { kind: 'import' };

export function VariablesPage() {
  const slug = environment.value?.slug ?? '';
  const [open, setOpen] = useState<Open>();
  const close = () => setOpen(undefined);
  const path = { project: PROJECT, environment: slug };
  const found = useQuery(slug && `${slug}/variables`, (signal) =>
    get('/api/v1/projects/{project}/envvars/{environment}', { path, signal }),
  );
  const columns: Column<VariableItem>[] = [
    { title: 'Name', cell: (item) => <code>{item.name}</code> },
    {
      title: 'Value',
      cell: (item) => (item.isSecret ? <Badge tone="idle" word="Secret" /> : <code>{item.value}</code>),
      isWide: true,
    },
    {
      title: 'Actions',
      isTitleHidden: true,
      cell: (item) => (
        <span class="actions">
          <button type="button" class="quiet" onClick={() => setOpen({ kind: 'set', item })}>
            Change
          </button>
          <button
            type="button"
            class="quiet"
            aria-label={`Delete ${item.name}`}
            onClick={() => setOpen({ kind: 'delete', item })}
          >
            <Icon name="trash" />
          </button>
        </span>
      ),
    },
  ];
  return (
    <Page
      title="Variables"
      actions={
        <>
          <button type="button" onClick={() => setOpen({ kind: 'import' })}>
            Import …
          </button>
          <button type="button" class="primary" onClick={() => setOpen({ kind: 'set' })}>
            <Icon name="plus" />
            New variable
          </button>
        </>
      }
    >
      <Loaded query={found}>
        {(list) =>
          list.length === 0 ? (
            <Empty title={`No variables in ${slug}`}>
              <p>Tasks read them as environment variables. Put keys of other services here, as secrets.</p>
            </Empty>
          ) : (
            <Table label="Variables" columns={columns} rows={list} keyOf={(item) => item.name} />
          )
        }
      </Loaded>
      {open?.kind === 'set' && <SetDialog item={open.item} slug={slug} onDone={found.reload} onClose={close} />}
      {open?.kind === 'import' && <ImportDialog slug={slug} onDone={found.reload} onClose={close} />}
      {open?.kind === 'delete' && <DeleteDialog item={open.item} slug={slug} onDone={found.reload} onClose={close} />}
    </Page>
  );
}

interface DialogProps {
  slug: string;
  onDone: () => void;
  onClose: () => void;
}

function SetDialog({ item, slug, onDone, onClose }: DialogProps & { item: VariableItem | undefined }) {
  const [name, setName] = useState(item?.name ?? '');
  const [value, setValue] = useState(item && !item.isSecret ? item.value : '');
  const [isSecret, setSecret] = useState(item?.isSecret ?? true);
  const save = async () => {
    const path = { project: PROJECT, environment: slug };
    await post('/api/v1/projects/{project}/envvars/{environment}', { path, body: { name: name.trim(), value, isSecret } });
    onDone();
    return 'The variable was saved. Attempts that start from now on see it.';
  };
  return (
    <Confirm title={item ? `Change ${item.name}` : 'New variable'} verb="Save" run={save} onClose={onClose}>
      <TextField
        label="Name"
        value={name}
        onInput={setName}
        input={{
          required: true,
          readOnly: item !== undefined,
          class: 'mono',
          pattern: '[A-Za-z_][A-Za-z0-9_]*',
          autocomplete: 'off',
        }}
      />
      <Field label="Value" hint={item?.isSecret ? 'The old value is not shown: write the new one.' : undefined}>
        {(attributes) => (
          <textarea
            {...attributes}
            class="mono"
            rows={3}
            required={item?.isSecret ?? false}
            value={value}
            spellcheck={false}
            onInput={(event) => setValue(event.currentTarget.value)}
          />
        )}
      </Field>
      <label class="row">
        <input type="checkbox" checked={isSecret} onChange={(event) => setSecret(event.currentTarget.checked)} />
        Secret: its value is never shown again
      </label>
    </Confirm>
  );
}

function ImportDialog({ slug, onDone, onClose }: DialogProps) {
  const [text, setText] = useState('');
  const [isSecret, setSecret] = useState(true);
  const save = async () => {
    const variables = parseEnvFile(text);
    const path = { project: PROJECT, environment: slug };
    await post('/api/v1/projects/{project}/envvars/{environment}/import', {
      path,
      body: { variables, override: true, isSecret },
    });
    onDone();
    return 'The variables were saved.';
  };
  return (
    <Confirm title={`Import variables into ${slug}`} verb="Import" run={save} onClose={onClose}>
      <Field label="Lines such as NAME=value" hint="As in a .env file. What is there already is replaced.">
        {(attributes) => (
          <textarea
            {...attributes}
            class="mono"
            rows={10}
            value={text}
            spellcheck={false}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        )}
      </Field>
      <label class="row">
        <input type="checkbox" checked={isSecret} onChange={(event) => setSecret(event.currentTarget.checked)} />
        All of them are secret
      </label>
    </Confirm>
  );
}

/** Reads a .env file: comments and empty lines are left out, quotes around a value go. */
function parseEnvFile(text: string): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const [place, line] of text.split('\n').entries()) {
    const trimmed = line.trim();
    if (trimmed === '' || trimmed.startsWith('#')) continue;
    const [, name, value] = /^(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)$/.exec(trimmed) ?? [];
    if (name === undefined) throw new Error(`Line ${place + 1} is not NAME=value.`);
    variables[name] = (value ?? '').replace(/^(["'])(.*)\1$/, '$2');
  }
  return variables;
}

function DeleteDialog({ item, slug, onDone, onClose }: DialogProps & { item: VariableItem }) {
  const remove = async () => {
    await del('/api/v1/projects/{project}/envvars/{environment}/{name}', {
      path: { project: PROJECT, environment: slug, name: item.name },
    });
    onDone();
    return 'The variable was deleted.';
  };
  return (
    <Confirm title={`Delete ${item.name}?`} verb="Delete" isDangerous run={remove} onClose={onClose}>
      <p class="faint">Attempts that start from then on do not see it.</p>
    </Confirm>
  );
}
