// The question before a run is stopped.

import { post } from '../../api/client';
import type { RunCommon } from '../../api/types';
import { Confirm } from '../../ui/Dialog';

interface CancelDialogProps {
  run: RunCommon;
  onClose: () => void;
  onDone?: () => void;
}

export function CancelDialog({ run, onClose, onDone }: CancelDialogProps) {
  const cancel = async () => {
    await post('/api/v2/runs/{run}/cancel', { path: { run: run.id } });
    onDone?.();
    return 'The run was canceled.';
  };
  return (
    <Confirm title="Cancel this run?" verb="Cancel the run" isDangerous run={cancel} onClose={onClose}>
      <p>
        <b>{run.taskIdentifier}</b> <code>{run.id}</code>
      </p>
      <p class="faint">
        {run.isCompleted
          ? 'It has ended already; nothing will change.'
          : 'It is stopped where it is, and what it has done until then stays done. Runs that it waits for are canceled, too.'}
      </p>
    </Confirm>
  );
}
