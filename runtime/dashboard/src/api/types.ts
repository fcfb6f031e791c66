// Names for the shapes of the API that pages speak of.

import type { components } from './schema';

/** A request's shape: what may be `null` may be left out. */
export type Loose<T> = T extends readonly (infer I)[]
  ? Loose<I>[]
  : T extends object
    ? { [K in keyof T as null extends T[K] ? never : K]: Loose<T[K]> } & {
        [K in keyof T as null extends T[K] ? K : never]?: Loose<T[K]>;
      }
    : T;

type Schemas = components['schemas'];

export type RunStatus = Schemas['RunStatus'];
export type RunCommon = Schemas['RunCommon'];
export type RunItem = Schemas['RunItem'];
export type RunDetails = Schemas['RunDetails'];
export type RelatedRun = Schemas['RelatedRun'];
export type EventItem = Schemas['EventItem'];
export type LogItem = Schemas['LogItem'];
export type TraceSpan = Schemas['TraceSpan'];
export type SpanEvent = Schemas['SpanEvent'];
export type ReplayReport = Schemas['ReplayReport'];
export type SourceEnd = Schemas['SourceEnd'];
export type ReplayEnd = Schemas['ReplayEnd'];
export type RunComparison = Schemas['RunComparison'];
export type CallList = Schemas['CallList'];
export type CallItem = Schemas['CallItem'];
export type TaskReplayRules = Partial<Loose<Schemas['TaskReplayRules']>>;
export type Comparison = Schemas['Comparison'];
export type Change = Schemas['Listed_Change']['items'][number];
export type EffectChanges = Comparison['effects'];
export type EffectCall = Schemas['Listed_EffectCall']['items'][number];
export type BacktestItem = Schemas['BacktestItem'];
export type BacktestReplay = Schemas['BacktestReplay'];
export type BacktestRequest = Loose<Schemas['BacktestRequest']>;
export type BulkItem = Schemas['BulkItem'];
export type BulkMember = Schemas['BulkMember'];
export type BulkFilter = Loose<Schemas['BulkFilter']>;
export type DeploymentItem = Schemas['DeploymentItem'];
export type TaskItem = Schemas['TaskItem'];
export type QueueItem = Schemas['QueueItem'];
export type ScheduleItem = Schemas['ScheduleItem'];
export type WaitpointItem = Schemas['WaitpointItem'];
export type EnvironmentItem = Schemas['EnvironmentItem'];
export type ApiKeyItem = Schemas['ApiKeyItem'];
export type VariableItem = Schemas['VariableItem'];
export type BatchSummary = Schemas['BatchSummary'];
export type BatchDetails = Schemas['BatchDetails'];
export type Pagination = Schemas['Pagination'];
export type ErrorGroupItem = Schemas['ErrorGroupItem'];
export type Overview = Schemas['Overview'];
export type Series = Schemas['Series'];
export type TaskStatistics = Schemas['TaskStatistics'];
