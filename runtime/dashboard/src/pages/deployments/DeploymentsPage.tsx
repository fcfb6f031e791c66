// The versions of the environment, newest first, and what is current.

import { useState } from 'preact/hooks';
import { get, post } from '../../api/client';
import type { DeploymentItem } from '../../api/types';
import { bytes } from '../../core/format';
import { renew, useQuery } from '../../core/query';
import { address } from '../../core/router';
import { environment, pathIn } from '../../core/session';
import { Confirm } from '../../ui/Dialog';
import { Page } from '../../ui/Page';
import { pageQuery, Pager } from '../../ui/Pager';
import { Empty, Loaded } from '../../ui/states';
import { Badge, SHAPES } from '../../ui/Status';
import { Table, type Column } from '../../ui/Table';
import { Time } from '../../ui/Time';

const EVERY_MS = 10_000;

export function DeploymentState({ of }: { of: DeploymentItem }) {
  if (of.isCurrent) return <Badge tone="good" word="Current" shape={SHAPES.done} />;
  if (of.deployedAt) return <Badge tone="idle" word="Was current" shape={SHAPES.stopped} />;
  return <Badge tone="waiting" word="Not promoted" shape={SHAPES.paused} />;
}

/** Who uploaded it, as far as the server knows: by what they showed. */
export function deployerWord(deployedBy: string): string {
  return deployedBy === 'admin' ? 'the admin key' : `the ${deployedBy}`;
}

const COLUMNS: Column<DeploymentItem>[] = [
  { title: 'Version', cell: (item) => item.version },
  { title: 'Component', cell: (item) => item.component },
  { title: 'State', cell: (item) => <DeploymentState of={item} /> },
  { title: 'Digest', cell: (item) => <code class="faint">{item.shortCode}</code> },
  { title: 'Your name for it', cell: (item) => item.externalId && <code>{item.externalId}</code>, isWide: true },
  { title: 'Size', cell: (item) => bytes(item.sizeBytes), isNumber: true },
  { title: 'Uploaded', cell: (item) => <Time at={item.createdAt} /> },
  { title: 'With', cell: (item) => item.deployedBy && <span class="faint">{deployerWord(item.deployedBy)}</span>, isNamed: true },
  { title: 'Promoted', cell: (item) => <Time at={item.deployedAt ?? undefined} /> },
];

export function DeploymentsPage() {
  const [isAsking, setAsking] = useState(false);
  const found = useQuery(
    `${environment.value?.slug}${address.value}`,
    (signal) => get('/api/v1/deployments', { query: pageQuery(50), signal }),
    {
      every: () => EVERY_MS,
    },
  );
  const rollBack = async () => {
    const done = await post('/api/v1/deployments/rollback');
    renew('/deployment');
    return `Version ${done.version} is current again.`;
  };
  return (
    <Page
      title="Deployments"
      actions={
        found.data &&
        found.data.data.length > 0 && (
          <button type="button" onClick={() => setAsking(true)}>
            Roll back the last promotion
          </button>
        )
      }
    >
      <Loaded query={found}>
        {(page) =>
          page.data.length === 0 ? (
            <Empty title="Nothing is deployed yet">
              <p>Build a component and upload it; its tasks appear by themselves.</p>
              <pre>dacapo deploy target/wasm32-wasip2/release/my_tasks.wasm</pre>
            </Empty>
          ) : (
            <>
              <Table
                label="Deployments"
                columns={COLUMNS}
                rows={page.data}
                keyOf={(item) => item.id}
                linkOf={(item) => pathIn('deployments', item.version)}
                keyboard="List"
              />
              <Pager pagination={page.pagination} />
            </>
          )
        }
      </Loaded>
      {isAsking && (
        <Confirm
          title="Roll back the last promotion?"
          verb="Roll back"
          isDangerous
          isGuarded
          run={rollBack}
          onClose={() => setAsking(false)}
        >
          <p>
            In <b>{environment.value?.slug}</b>, the version that was current before becomes current again. Runs that have started
            stay where they are.
          </p>
        </Confirm>
      )}
    </Page>
  );
}
