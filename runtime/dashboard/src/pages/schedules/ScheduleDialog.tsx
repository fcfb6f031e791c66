// A schedule that is made or changed by hand.

import { useState } from 'preact/hooks';
import { get, post, put } from '../../api/client';
import type { ScheduleItem } from '../../api/types';
import { useTasks } from '../../core/known';
import { useQuery } from '../../core/query';
import { Confirm } from '../../ui/Dialog';
import { TextField } from '../../ui/Field';

interface ScheduleDialogProps {
  /** Left out: a new one. */
  schedule?: ScheduleItem;
  onDone: () => void;
  onClose: () => void;
}

export function ScheduleDialog({ schedule, onDone, onClose }: ScheduleDialogProps) {
  const [task, setTask] = useState(schedule?.task ?? '');
  const [cron, setCron] = useState(schedule?.generator.expression ?? '0 3 * * *');
  const [timezone, setTimezone] = useState(schedule?.timezone ?? 'UTC');
  const [externalId, setExternalId] = useState(schedule?.externalId ?? '');
  const tasks = useTasks().data ?? [];
  const zones = useQuery('timezones', (signal) => get('/api/v1/timezones', { signal }));
  const save = async () => {
    const plan = {
      task: task.trim(),
      cron: cron.trim(),
      timezone,
      ...(externalId.trim() ? { externalId: externalId.trim() } : {}),
    };
    if (schedule) {
      await put('/api/v1/schedules/{schedule}', { path: { schedule: schedule.id }, body: plan });
    } else {
      await post('/api/v1/schedules', { bodyText: JSON.stringify({ ...plan, deduplicationKey: `page-${crypto.randomUUID()}` }) });
    }
    onDone();
    return 'The schedule was saved.';
  };
  return (
    <Confirm title={schedule ? 'Change the schedule' : 'New schedule'} verb="Save" run={save} onClose={onClose}>
      <TextField
        label="Task"
        value={task}
        onInput={setTask}
        input={{ list: 'schedule-tasks', required: true, autofocus: true }}
      />
      <datalist id="schedule-tasks">
        {tasks.map((known) => (
          <option key={known.id} value={known.id} />
        ))}
      </datalist>
      <TextField
        label="Cron pattern"
        value={cron}
        onInput={setCron}
        hint="Minute, hour, day, month, weekday: 15 3 * * 1-5. L, W and # are understood."
        input={{ required: true, class: 'mono' }}
      />
      <TextField label="Time zone" value={timezone} onInput={setTimezone} input={{ list: 'timezones', required: true }} />
      <datalist id="timezones">
        {zones.data?.timezones.map((zone) => (
          <option key={zone} value={zone} />
        ))}
      </datalist>
      <TextField label="Your name for it" value={externalId} onInput={setExternalId} hint="Given to the runs; may stay empty" />
    </Confirm>
  );
}
