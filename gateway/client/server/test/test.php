<?php

declare(strict_types=1);

require __DIR__ . '/../Fanfare.php';

use Fanfare\Fanfare;
use Fanfare\FanfareException;

$api = new Fanfare(getenv('FANFARE_API_KEY'), getenv('FANFARE_API'));

/** Starts a client that prints what it gets in a room, and waits until it is there. */
function member(Fanfare $api, string $user, string $room): array
{
    $token = Fanfare::token(getenv('FANFARE_AUTH_SECRET'), ['sub' => $user, 'rooms' => [$room => ['join']]]);
    $command = [getenv('FANFARE'), 'sub', $room, '--json', '--url', getenv('FANFARE_WS')];
    $process = proc_open($command, [1 => ['pipe', 'w']], $pipes, null, ['FANFARE_TOKEN' => $token] + getenv());
    while (!in_array($user, array_column(iterator_to_array($api->presence($room), false), 'user'), true)) {
        usleep(20_000);
    }
    return [$process, $pipes[1]];
}

function throws(callable $act): Throwable
{
    try {
        $act();
    } catch (Throwable $thrown) {
        return $thrown;
    }
    throw new AssertionError('nothing was thrown');
}

// What is published arrives, and is kept.
[$ann, $lines] = member($api, 'ann', 'php:news');
$data = ['text' => 'Zoë 🎺', 'list' => [1, null, true]];
$at = $api->publish('php:news', $data, ['event' => 'news', 'key' => 'k1']);
assert($api->publish('php:news', $data, ['key' => 'k1']) === $at);
$got = json_decode(fgets($lines), true);
assert($got['data'] === $data && $got['event'] === 'news' && $got['offset'] === $at['offset']);
$api->publish('php:news', "\0\xff\n", ['binary' => true]);
$kept = $api->history('php:news', $at, 10)['messages'];
assert(count($kept) === 1 && $kept[0]['data'] === 'AP8K' && $kept[0]['binary'] === true);
$api->disconnectUser('ann', 'enough');
assert(proc_close($ann) !== 0);

// A broadcast has an outcome for each room.
$outcomes = $api->broadcast(['php:one', 'php:a/b c'], 7);
assert(array_column($outcomes, 'offset') === [1, 1]);
assert($api->history('php:a/b c')['messages'][0]['data'] === 7);

// A message to a user says whether one has it.
assert($api->send('nobody', 1) === false);
[$bob] = member($api, 'bob', 'php:hall');
assert($api->send('bob', 1) === true);
$api->disconnectRoom('php:hall');
proc_close($bob);

// A refusal has a code.
$refused = throws(fn () => (new Fanfare('another', getenv('FANFARE_API')))->publish('a', 1));
assert($refused instanceof FanfareException);
assert([$refused->status, $refused->error, $refused->retry] === [401, 'unauthorized', false]);
assert(throws(fn () => $api->publish('..', 1)) instanceof InvalidArgumentException);

// A signature is verified.
foreach (json_decode(file_get_contents(getenv('VECTORS')), true) as $one) {
    $headers = [
        'webhook-id' => $one['id'],
        'webhook-timestamp' => (string) $one['timestamp'],
        'webhook-signature' => $one['signature'],
    ];
    $ask = fn (int $tolerance) => Fanfare::verify($one['secret'], $headers, $one['body'], $tolerance);
    if ($one['valid']) {
        assert($ask(PHP_INT_MAX) === json_decode($one['body'], true), $one['name']);
    } else {
        assert(str_contains(throws(fn () => $ask(PHP_INT_MAX))->getMessage(), 'webhook-signature'), $one['name']);
    }
    assert(str_contains(throws(fn () => $ask(300))->getMessage(), 'webhook-timestamp'));
}

echo "php: all passed\n";
