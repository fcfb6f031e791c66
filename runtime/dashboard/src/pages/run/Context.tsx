// What a task is told about its run in `ctx`, as the server has it.

import { useState } from 'preact/hooks';
import { get } from '../../api/client';
import type { RunDetails } from '../../api/types';
import { useQuery } from '../../core/query';
import { environment } from '../../core/session';
import { Json } from '../../ui/Json';
import { Section } from '../../ui/Page';
import { Loaded } from '../../ui/states';

export function Context({ run }: { run: RunDetails }) {
  const [isOpen, setOpen] = useState(false);
  const slug = environment.value?.slug;
  const found = useQuery(isOpen && slug && run.version ? `${slug}/context/${run.id}/${run.updatedAt}` : undefined, (signal) =>
    get('/api/v1/runs/{run}/context', { path: { run: run.id }, signal }),
  );
  return (
    <Section title="Context">
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>What the task is told about this run, in ctx</summary>
        {!run.version && <p class="faint">It has no version yet, and so nothing was told to a task.</p>}
        {isOpen && run.version && (
          <Loaded query={found}>
            {(answer) => (
              <>
                <Json value={answer.context} label="the context" />
                {!answer.isRecorded && (
                  <p class="faint trace-note">Put together from what is stored of the run: there is no recording of it.</p>
                )}
              </>
            )}
          </Loaded>
        )}
      </details>
    </Section>
  );
}
