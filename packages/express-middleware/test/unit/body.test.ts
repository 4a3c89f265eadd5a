import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Body, type Reader } from '../../src/body.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const MAX = 10;

function make(isTooMuch: () => boolean = () => false) {
  const told = { held: 0, alone: 0, room: 0 };
  const body = new Body({
    bytesMax: MAX,
    onHeld(difference) {
      told.held += difference;
      return isTooMuch();
    },
    onAlone: () => (told.alone += 1),
  });
  body.whenRoom(() => (told.room += 1));
  return { body, told, add: (text: string) => body.add(Buffer.from(text)) };
}

/** A reader that takes so many chunks before it is full; `drain` gives it room for as many more. */
function readerOf(join: (sink: Parameters<Body['own']>[0]) => Reader | undefined, roomFor = Number.POSITIVE_INFINITY) {
  const seen = { text: '', end: '' };
  let room = roomFor;
  const reader = join({
    write(bytes) {
      seen.text += Buffer.from(bytes).toString();
      room -= 1;
      return room > 0;
    },
    flush: () => (seen.text += '|'),
    end: () => (seen.end = 'end'),
    cut: () => (seen.end = 'cut'),
  });
  reader?.pump();
  return {
    seen,
    leave: () => reader?.leave(),
    drain(chunks = Number.POSITIVE_INFINITY) {
      room = chunks;
      reader?.drained();
    },
  };
}

describe('a body', () => {
  it('gives every reader all of it in order, also one that comes late or has no room for a while', () => {
    const { body, told, add } = make();
    const owner = readerOf((sink) => body.own(sink));
    const slow = readerOf((sink) => body.read(sink), 1);
    add('a');
    add('b');
    const late = readerOf((sink) => body.read(sink));
    expect([owner.seen.text, slow.seen.text, late.seen.text]).toEqual(['ab', 'a', 'ab']);
    slow.drain();
    add('c');
    body.flush();
    body.end();
    for (const { seen } of [owner, slow, late]) expect(seen).toEqual({ text: 'abc|', end: 'end' });
    expect(told).toMatchObject({ held: 0, alone: 1 });
  });

  it('holds, once it is narrowed, only what the slowest of its readers has yet to get, and has no start any more', () => {
    const { body, told, add } = make();
    const fast = readerOf((sink) => body.read(sink));
    const slow = readerOf((sink) => body.read(sink), 1);
    add('aaa');
    add('bb');
    expect(told.held).toBe(5);
    body.narrow();
    expect(told.held).toBe(2);
    expect(body.read({ write: () => true, flush() {}, end() {}, cut() {} })).toBeUndefined();
    expect(body.whole()).toEqual(Buffer.alloc(0));
    slow.leave();
    expect(told.held).toBe(0);
    fast.leave();
    expect(told.alone).toBe(1);
  });

  it('has room while one reader has, and says so when one has again', () => {
    const { body, told, add } = make();
    const [one, other] = [readerOf((sink) => body.read(sink), 1), readerOf((sink) => body.read(sink), 2)];
    body.narrow();
    add('a');
    expect(body.hasRoom).toBe(true);
    add('b');
    expect([body.hasRoom, told.room]).toEqual([false, 0]);
    one.drain();
    expect([body.hasRoom, told.room]).toEqual([true, 1]);
    other.drain();
    expect(told.room).toBe(1);
  });

  it('waits for a reader that is too far behind, but a quarter of a second in all; then that one is cut', () => {
    const { body, told, add } = make();
    const fast = readerOf((sink) => body.read(sink));
    const slow = readerOf((sink) => body.read(sink), 1);
    body.narrow();
    for (const text of ['1', '22222', '33333', '44444']) add(text);
    expect([body.hasRoom, slow.seen.end]).toEqual([true, '']); // what came last does not count
    add('5');
    expect(body.hasRoom).toBe(false);
    vi.advanceTimersByTime(100);
    slow.drain(2); // catches up
    expect([body.hasRoom, told.room, slow.seen.end]).toEqual([true, 1, '']);
    for (const text of ['66666', '77777', '8']) add(text);
    expect(body.hasRoom).toBe(false);
    vi.advanceTimersByTime(149);
    expect(slow.seen.end).toBe('');
    vi.advanceTimersByTime(2);
    expect([slow.seen.end, fast.seen.end, body.hasRoom, told.room]).toEqual(['cut', '', true, 2]);
    expect(told.held).toBe(0);
  });

  it('waits for nobody who is twice as far behind, nor when all bodies together are too many', () => {
    for (const isTooMuch of [false, true]) {
      const { body, add } = make(() => isTooMuch);
      const fast = readerOf((sink) => body.read(sink));
      const slow = readerOf((sink) => body.read(sink), 1);
      body.narrow();
      for (const text of ['1', isTooMuch ? '2' : '2'.repeat(2 * MAX + 1), '3']) add(text);
      expect([slow.seen.end, fast.seen.end]).toEqual(['cut', '']);
    }
  });

  it('cuts its own caller too if that one is the slow one, and gives it all if it is the only one left', () => {
    const { body, add } = make();
    const owner = readerOf((sink) => body.own(sink), 1);
    const follower = readerOf((sink) => body.read(sink));
    body.narrow();
    for (const text of ['1', '2'.repeat(2 * MAX + 1), '3']) add(text);
    expect([owner.seen.end, follower.seen.end]).toEqual(['cut', '']);

    const second = make();
    const alone = readerOf((sink) => second.body.own(sink), 1);
    const leaves = readerOf((sink) => second.body.read(sink));
    second.body.narrow();
    for (const text of ['1', '2', '3']) second.add(text);
    leaves.leave();
    expect(alone.seen).toEqual({ text: '123', end: '' });
    expect(second.body.isOwned).toBe(false);
  });

  it('that breaks off is cut for all but its own caller, who gets what there is', () => {
    const { body, told, add } = make();
    const owner = readerOf((sink) => body.own(sink), 1);
    const follower = readerOf((sink) => body.read(sink));
    for (const text of ['1', '2']) add(text);
    body.cut();
    expect([owner.seen, follower.seen]).toEqual([
      { text: '12', end: '' },
      { text: '12', end: 'cut' },
    ]);
    expect(told).toMatchObject({ held: 0, alone: 1 });
  });
});
